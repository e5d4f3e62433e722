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
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("dtvg_jax", "tasks", "gin"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=skip)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    done = subprocess.run(
        [*pip, "--no-deps", source], cwd=folder, capture_output=True, text=True
    )
    # pip fetches what pyproject.toml builds with; that alone needs a registry.
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("setuptools cannot be fetched")
    assert done.returncode == 0, done.stderr
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


@pytest.fixture(scope="module")
def bin(wheel, tmp_path_factory) -> pathlib.Path:
    """The folder of programs of an environment in which the wheel is installed."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    checked(sys.executable, "-m", "venv", "--without-pip", home, cwd=ROOT)
    pip = [sys.executable, "-m", "pip", "--python", home / "bin/python", "install"]
    checked(*pip, "--no-deps", "--disable-pip-version-check", wheel, cwd=ROOT)
    # The libraries of this environment come after the wheel; .pth files that lie among
    # them, such as that of an editable install, are not read.
    [site] = home.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    where = "import dtvg_jax, tasks; print(dtvg_jax.__file__, tasks.__file__)"
    found = checked(home / "bin/python", "-c", where, cwd=home, env=INSTALLED).split()
    assert all(pathlib.Path(file).is_relative_to(site) for file in found), found
    return home / "bin"


DRY_RUN = ["--gin_file=gin/test/small_job.gin", "--dry_run"]
PLAN = "stage1: 8 lanes, batch size 4, validated every 4 steps"


def test_commands_of_an_installed_wheel_run_from_any_folder(bin, tmp_path):
    plan = checked(bin / "dtvg-train", *DRY_RUN, cwd=tmp_path, env=INSTALLED)
    assert PLAN in plan
    module = [bin / "python", "-m", "dtvg_jax.train"]
    assert checked(*module, *DRY_RUN, cwd=tmp_path, env=INSTALLED) == plan
    for name in ("evaluate", "predict", "convert", "pretrain", "report"):
        said = checked(bin / f"dtvg-{name}", "--help", cwd=tmp_path, env=INSTALLED)
        assert said.startswith(f"python -m dtvg_jax.{name} ")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["dtvg-train", "python -m dtvg_jax.train"])
def test_modules_of_the_working_directory_are_found(bin, tmp_path, command):
    (tmp_path / "my_settings.py").write_text("def seeds():\n    return [7]\n")
    (tmp_path / "my.gin").write_text(
        "from __gin__ import dynamic_registration\n"
        "from dtvg_jax.jobs import job\nimport my_settings\n"
        "include 'gin/test/small_job.gin'\n"
        "job.Job.seeds = @my_settings.seeds()\n"
    )
    program, *words = command.split()
    given = [bin / program, *words, "--gin_file=my.gin", "--dry_run"]
    plan = checked(*given, cwd=tmp_path, env=INSTALLED)
    assert PLAN.replace("8 lanes", "4 lanes") in plan


@pytest.mark.parametrize("name", ["tasks.py", "tasks/__init__.py", "gin/__init__.py"])
def test_a_console_script_does_not_import_what_hides_a_package(bin, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise RuntimeError('this is another program')\n")
    plan = checked(bin / "dtvg-train", *DRY_RUN, cwd=tmp_path, env=INSTALLED)
    assert PLAN in plan
