"""docs/paper.md, tpu_vm.md and gpu.md, line by line as far as no cloud is needed."""

import pathlib
import re
import shlex
import subprocess
import tomllib

import pytest

import gin
from dtvg_jax.cli import command, gin_settings
from dtvg_jax.cli.commands import train
from dtvg_jax.jobs import job

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDES = ("paper", "tpu_vm", "gpu")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


def guide(name: str) -> str:
    """A guide whose commands are on one line each."""
    return re.sub(r"\\\n +", "", (ROOT / "docs" / f"{name}.md").read_text())


COMMANDS = [
    (name, found)
    for name in GUIDES
    for found in re.findall(r"dtvg_jax\.train (--.*?)(?: > .*)?$", guide(name), re.M)
]


@pytest.mark.parametrize("name, flags", COMMANDS, ids=lambda text: text[:40])
def test_commands_find_every_setting(name, flags, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # as in the container, gin/ is not there
    gin.clear_config()
    command.parse(train.COMMAND, ["train", *shlex.split(flags)])
    made = gin_settings.configure(job.Job, train.GIN)
    gin.clear_config()
    assert made.sources and train.COMPILE_ONLY.value == (train.JOB_DIR.value is None)


def test_every_guide_has_commands():
    assert {name for name, _ in COMMANDS} == set(GUIDES)


@pytest.mark.parametrize("name", ["tpu_vm", "gpu"])
def test_scripts_are_right_for_a_shell(name):
    scripts = re.findall(r"```sh\n(.*?)```", guide(name), re.DOTALL)
    assert scripts
    for script in scripts:
        done = subprocess.run(
            ["bash", "-n"], input=script, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_extras_that_are_named_exist():
    texts = [guide(name) for name in GUIDES] + [(ROOT / "Dockerfile").read_text()]
    named = re.findall(r"EXTRA=(\w+)|'\.\[(\w+)\]'", "\n".join(texts))
    assert {"tpu", "cuda"} <= {one or other for one, other in named} <= set(EXTRAS)


def test_the_image_gets_all_that_the_package_is_built_from():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {w for line in lines if line.startswith("COPY") for w in line.split()[1:]}
    kept = (ROOT / ".dockerignore").read_text().split()
    needed = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    needed |= {"dtvg_jax", "tasks", "gin"}
    assert copied - {"./"} == needed == {w[1:] for w in kept if w[0] == "!"}
    assert all((ROOT / name).exists() for name in needed)
