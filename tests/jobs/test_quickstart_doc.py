"""docs/quickstart.md: its commands are run as they stand, on a job of seconds."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import gin
from dtvg_jax.cli import gin_settings
from dtvg_jax.cli.command import parse
from dtvg_jax.cli.commands import train
from dtvg_jax.files.differences import differences
from dtvg_jax.jobs import job, plan

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs/quickstart.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
QUICKSTART = "gin/runs/quickstart.gin"


def settings(line: str) -> job.Job | None:
    """The job of a command that trains; None for other commands."""
    _, *words = shlex.split(line.replace("\\\n", " "))
    if words[:2] != ["-m", "dtvg_jax.train"]:
        return None
    gin.clear_config()
    parse(train.COMMAND, words[1:])
    made = gin_settings.configure(job.Job, train.GIN)
    gin.clear_config()
    return made


def test_each_variant_changes_what_the_text_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    first, *variants = filter(None, map(settings, COMMANDS))
    was = plan.settings(first)
    changed = [differences(was, plan.settings(variant)) for variant in variants]
    assert [list(map(str, one)) for one in changed] == [
        ["prompt_length was 16, is 8"],
        ["stage2.steps was 100, is 300"],
        [
            "methods.spot was present, is absent",
            "methods.all_sources was absent, is present",
            "methods.max_consistency was absent, is present",
        ],
        ["seeds was [0, 1, 2], is [3, 4, 5]"],
        ["shots was None, is 16"],
    ]


@pytest.fixture
def checkout(tmp_path, cache) -> pathlib.Path:
    """A folder in which the commands find what they name, and a small quick start."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".venv/installed").touch()
    text = (ROOT / "gin/test/small_job.gin").read_text()
    (tmp_path / QUICKSTART).parent.mkdir(parents=True)
    (tmp_path / QUICKSTART).write_text(f"{text}\njob.Job.cache_dir = '{cache}'\n")
    return tmp_path


@pytest.mark.slow
def test_every_command_runs_as_it_stands(checkout, cache):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "xla"),
    }
    said = {}
    for command in COMMANDS:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=checkout, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said[command] = done.stdout
    jobs = sorted(path.parent.name for path in checkout.glob("jobs/*/results.md"))
    assert jobs == [
        "other_seeds", "quickstart", "rows_8", "rules", "shots_16", "steps_300",
    ]  # fmt: skip
    for name in jobs:
        results = json.loads((checkout / "jobs" / name / "results.json").read_text())
        assert results["rows"] and not results["failed"]
    [answer] = [said[x] for x in COMMANDS if "dtvg_jax.predict" in x]
    assert json.loads(answer)["prompt"] == "mrpc/dtvg-seed0"
    tried = json.loads((checkout / "jobs/evaluated/results.json").read_text())["rows"]
    assert [row["entry"] for row in tried] == ["qnli/stage1-seed0", "mrpc/dtvg-seed0"]
    assert (checkout / "jobs/peft/mrpc/dtvg-seed0/adapter_config.json").is_file()


def test_the_files_that_the_text_names_are_there():
    links = re.findall(r"\]\(([\w./]+)\)", DOC)
    assert links
    for link in links:
        assert (ROOT / "docs" / link).is_file()
    for file in re.findall(r"`(gin/[\w/]+\.gin)`", DOC):
        assert (ROOT / file).is_file()
