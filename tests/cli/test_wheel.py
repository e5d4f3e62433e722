"""The package as it is installed: its files, and its commands from any folder."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


# PYTHONPATH would put this checkout before the wheel.
INSTALLED = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def checked(
    *command: object, cwd: pathlib.Path, env: dict[str, str] | None = None
) -> str:
    line = [str(word) for word in command]
    done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """The wheel of a copy of this checkout: a build leaves files beside its source."""
    pytest.importorskip("setuptools", minversion="77")  # that pyproject.toml asks for
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("dtvg_jax", "tasks", "gin"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=skip)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    checked(*pip, "--no-deps", "--no-build-isolation", source, cwd=folder)
    [made] = folder.glob("*.whl")
    return made


def test_the_wheel_holds_gin_files_tasks_and_the_backbone(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in ROOT.glob("gin/**/*.gin"):
        assert f"dtvg_jax/cli/{file.relative_to(ROOT)}" in names
    for folder in ("tasks", "dtvg_jax/cli/commands", "dtvg_jax/models/embedded"):
        for file in (ROOT / folder).rglob("*.*"):
            if "__pycache__" not in file.parts:
                assert str(file.relative_to(ROOT)) in names
    # A package named gin would hide the library of that name.
    assert not any("gin/" in name and name.endswith(".py") for name in names)


def test_commands_of_an_installed_wheel_run_from_any_folder(wheel, tmp_path):
    home, empty = tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    checked(sys.executable, "-m", "venv", "--without-pip", home, cwd=tmp_path)
    pip = [sys.executable, "-m", "pip", "--python", home / "bin/python", "install"]
    checked(*pip, "--no-deps", "--disable-pip-version-check", wheel, cwd=tmp_path)
    # The libraries of this environment come after the wheel; .pth files that lie among
    # them, such as that of an editable install, are not read.
    [site] = home.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    python = home / "bin/python"
    where = "import dtvg_jax, tasks; print(dtvg_jax.__file__, tasks.__file__)"
    found = checked(python, "-c", where, cwd=empty, env=INSTALLED).split()
    assert all(pathlib.Path(file).is_relative_to(site) for file in found), found
    given = ["--gin_file=gin/test/small_job.gin", "--dry_run"]
    plan = checked(home / "bin/dtvg-train", *given, cwd=empty, env=INSTALLED)
    assert "stage1: 8 lanes of 4 rows, 12 steps, validated every 4" in plan
    assert (
        checked(python, "-m", "dtvg_jax.train", *given, cwd=empty, env=INSTALLED)
        == plan
    )
    for name in ("evaluate", "predict", "convert", "pretrain", "report"):
        said = checked(home / f"bin/dtvg-{name}", "--help", cwd=empty, env=INSTALLED)
        assert said.startswith(f"python -m dtvg_jax.{name} ")
    assert not any(empty.iterdir())
