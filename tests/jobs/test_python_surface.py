"""What `import dtvg_jax` offers, as the README shows it."""

import ast
import doctest
import importlib
import pathlib
import subprocess
import sys

import jaxtyping
import numpy as np
import pytest

import dtvg_jax

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.slow
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
    rows = names["report"].results.rows
    assert {row.method for row in rows} == {"prompt_tuning", "dtvg"}
    assert names["prompt"].shape == (16, 96) and np.isfinite(names["prompt"]).all()


@pytest.mark.slow
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


WRONG = {
    "learn('sst2', 'x', stage=stage)": "sources = 'sst2': it must be a list of texts",
    "learn([3], 'x', stage=stage)": "sources = [3]: it must be a list of texts",
    "learn(['sst2'], '', stage=stage)": "'' is not a path: give a file or folder",
    "learn(['sst2'], 3, stage=stage)": "3 is not a path: give a file or folder",
    "learn(['sst2'], 'x', stage={})": "stage1 must be a Stage",
    "learn(['sst2'], 'x', stage=stage, seeds=1)": "seeds = 1: it must be a list of",
    "learn(['sst2'], 'x', stage=stage, promt_length=1)": (
        "unknown setting 'promt_length': did you mean 'prompt_length'?"
    ),
    "learn(['sst2'], 'x', stage=stage, sources=[])": (
        "sources is not a setting here: the function sets it"
    ),
    "learn(['sst2', 'sst2'], 'x', stage=stage)": "sources names 'sst2' twice",
    "transfer(['sst2'], 'rte', 'x', stage1=stage, stage2=stage)": (
        "targets = 'rte': it must be a list of texts"
    ),
    "Job('miniature', ['sst2'], [], stage, stage, download='no')": (
        "download = 'no': it must be True or False"
    ),
    "PromptStore('')": "'' is not a path: give a file or folder",
    "EvaluateSettings(tasks='sst2')": "tasks = 'sst2': it must be a list of texts",
    "EvaluateSettings(tasks=['rte', 'rte'])": "tasks names 'rte' twice",
    "EvaluateSettings(prompts=['a', 'a'])": "prompts names 'a' twice",
    "EvaluateSettings(split='dev')": (
        "split = 'dev': it must be 'train' or 'validation' or 'test'"
    ),
}


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_argument_is_one_sentence(tmp_path, monkeypatch, call):
    # Users do not have the import hook of the tests, which would see a mistake first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)
    stage = dtvg_jax.Stage(steps=1, learning_rate=0.1, warmup=0)
    with pytest.raises(dtvg_jax.InputError) as error:
        eval(f"dtvg_jax.{call}", {"dtvg_jax": dtvg_jax, "stage": stage})
    assert str(error.value).startswith(WRONG[call])
    assert not any(tmp_path.iterdir())


def test_importing_the_package_loads_nothing():
    program = "import sys, dtvg_jax; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.stdout.strip() == b"False", done.stderr


def test_type_checkers_see_what_programs_see():
    tree = ast.parse(pathlib.Path(dtvg_jax.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            seen[alias.asname] = (node.module, alias.name)
    assert list(seen) and set(seen) == set(dtvg_jax._SURFACE)
    for name, (module, attribute) in seen.items():
        own = getattr(importlib.import_module(module), attribute)
        assert getattr(dtvg_jax, name) is own, name


COMMANDS = ["train", "evaluate", "predict", "convert", "pretrain", "report"]


@pytest.mark.parametrize("first", ["the commands", "the functions"])
def test_commands_do_not_hide_functions_of_their_names(first):
    look = "assert inspect.isfunction(dtvg_jax.evaluate), dtvg_jax.evaluate;"
    look += "assert inspect.isfunction(dtvg_jax.predict), dtvg_jax.predict;"
    load = "".join(f"import dtvg_jax.{name};" for name in COMMANDS)
    program = "import inspect, dtvg_jax;"
    program += load + look if first == "the commands" else look + load + look
    program += "from dtvg_jax import evaluate; assert inspect.isfunction(evaluate);"
    program += "import dtvg_jax.task_vectors as t; t.released;"
    program += "print(sys.modules['dtvg_jax.evaluate'].COMMAND.resumes)"
    command = [sys.executable, "-c", f"import sys; {program}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_settings_of_predict_can_be_made():
    settings = dtvg_jax.PredictSettings(method="spot", batch_size=4)
    assert (settings.method, settings.inputs_length) == ("spot", None)
