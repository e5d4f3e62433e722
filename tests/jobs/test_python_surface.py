"""What `import dtvg_jax` offers, as the README shows it."""

import doctest
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import dtvg_jax

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"


def test_the_example_of_the_readme_runs(cache, tmp_path, monkeypatch):
    section = README.read_text().split("## From Python")[1].split("\n## ")[0]
    lines = [x[4:] for x in section.splitlines() if x.startswith("    ")]
    code = "\n".join(lines)
    code = code.replace("steps=100", "steps=2, validate_every=1")
    limits = f"validation_rows=5, test_rows=5, cache_dir={str(cache)!r}, "
    code = code.replace("prompt_length=16", limits + "prompt_length=16")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["results"]["complete"]
    assert names["prompt"].shape == (16, 96) and np.isfinite(names["prompt"]).all()


def test_the_examples_of_the_package_are_true(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # where the default cache is
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "dtvg_jax").symlink_to(cache)
    done = doctest.testmod(dtvg_jax, optionflags=doctest.ELLIPSIS)
    assert done.failed == 0 and done.attempted > 10


@pytest.mark.parametrize("name", ["Job", "Stage", "run", "PromptStore", "InputError"])
def test_names_are_there(name):
    assert name in dir(dtvg_jax) and getattr(dtvg_jax, name).__name__ == name


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'learm'"):
        dtvg_jax.learm  # noqa: B018


def test_importing_the_package_loads_nothing():
    program = "import sys, dtvg_jax; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.stdout.strip() == b"False", done.stderr
