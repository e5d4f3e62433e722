"""`~` is the home folder in every path that a user gives."""

import pathlib
from collections.abc import Iterator

import fake_job
import jax
import numpy as np
import pytest

import gin
from dtvg_jax.cli import command, compilation_cache
from dtvg_jax.cli.commands import convert, evaluate, predict, pretrain, report, train
from dtvg_jax.data import prepared
from dtvg_jax.formats import load
from dtvg_jax.pretraining import objectives
from dtvg_jax.store.prompt_store import PromptStore

ROOT = pathlib.Path(__file__).resolve().parents[2]


def code(of: command.Command, flags: str) -> object:
    with pytest.raises(SystemExit) as end:
        command.run(of, ["command", *flags.split()])
    return end.value.code


@pytest.fixture
def home(tmp_path, monkeypatch, cache) -> Iterator[pathlib.Path]:
    """A home folder with one of each, and an empty working directory."""
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    (home / "layers").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    gin.clear_config()
    (home / "cache").symlink_to(cache)
    (home / "model").symlink_to(load.EMBEDDED / "miniature")
    small = (ROOT / "gin/test/small_job.gin").read_text()
    (home / "layers" / "small.gin").write_text(small)
    (home / "top.gin").write_text("include '~/layers/small.gin'\n")
    (home / "file").write_text("")
    np.save(home / "rte.npy", np.zeros((2, 96), np.float32))
    made = f"--store={home}/store --backbone=miniature rte={home}/rte.npy"
    assert code(convert.COMMANDS["import"], made) == 0
    fake_job.save(home / "job", fake_job.small(), [])
    yield home
    gin.clear_config()
    assert not any(here.iterdir())  # such as a folder of the name "~"


# A command, its flags, and what then lies in the home folder.
RUNS = [
    (train.COMMAND, "--gin_file=~/top.gin --dry_run", ""),
    pytest.param(
        train.COMMAND,
        "--gin_file=small.gin --gin_search_paths=~/layers --dry_run",
        "",
        marks=pytest.mark.slow,
    ),
    (
        convert.COMMANDS["export"],
        "--store=~/store --format=npy --backbone=~/model --out=~/out",
        "out/rte/imported-seed0.npy",
    ),
    (
        convert.COMMANDS["import"],
        "--store=~/new --p_init=~/rte.npy ~/rte.npy sst2=~/rte.npy",
        "new/sst2/imported-seed0/entry.json",
    ),
    (convert.COMMANDS["similarities"], "--store=~/store rte/imported-seed0", ""),
    (
        convert.COMMANDS["backbone"],
        "--backbone=~/model --format=hugging_face --out=~/copy",
        "copy/config.json",
    ),
    (report.COMMAND, "--job_dir=~/job", "job/results.md"),
]


@pytest.mark.parametrize("of, flags, made", RUNS)
def test_flags_of_commands(home, capsys, of, flags, made):
    assert code(of, flags) == 0, capsys.readouterr().err
    assert (home / made).exists()


# Commands that would run for long: what they say of a path that is not right.
SMALL = "--gin_file=~/top.gin"
REFUSED = [
    (train.COMMAND, f"{SMALL} --job_dir=~/file", "{home}/file cannot be written"),
    (train.COMMAND, "--gin_file=~/layers", "~/layers is a folder: give a gin file"),
    (
        pretrain.COMMAND,
        "--gin_file=runs/pretrain_miniature.gin --out=~/file",
        "{home}/file: File exists",
    ),
    (predict.COMMAND, "--file=~/absent", "there is no file {home}/absent"),
    (predict.COMMAND, "--store=~/absent", "{home}/absent holds no learned prompts"),
    (
        evaluate.COMMAND,
        "--store=~/absent --out=~/out --backbone=~/model",
        "{home}/absent holds no learned prompts",
    ),
]


@pytest.mark.parametrize("of, flags, said", REFUSED, ids=[f for _, f, _ in REFUSED])
def test_paths_in_refusals_are_whole(home, capsys, of, flags, said):
    assert code(of, flags) == 2
    assert said.format(home=home) in capsys.readouterr().err


def test_functions_and_settings(home):
    assert load.open_source("~/model").folder == home / "model"
    assert PromptStore("~/store").names() == ["rte/imported-seed0"]
    assert prepared.folder("~/layers", "~/cache", []) == home / "layers"
    spiece = objectives.vocabulary_file("~/model/spiece.model")
    assert spiece == objectives.vocabulary_file(str(home / "model" / "spiece.model"))
    before = jax.config.values["jax_compilation_cache_dir"]
    compilation_cache.enable("~/cache")
    assert jax.config.values["jax_compilation_cache_dir"] == str(home / "cache/xla")
    jax.config.update("jax_compilation_cache_dir", before)
