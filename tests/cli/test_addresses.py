"""An address that cannot be used is refused by every flag, never made here."""

import pathlib
from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest

import gin
from dtvg_jax.cli import command
from dtvg_jax.cli.commands import (
    convert,
    evaluate,
    predict,
    pretrain,
    report,
    train,
    verify_resume,
)
from dtvg_jax.files import remote

AT = "ftp://host/x"
GS = "gs://bucket/x"
SMALL = "--gin_file=test/small_job.gin"
PRETRAIN = "--gin_file=runs/pretrain_miniature.gin"
# A command, and its flags with AT in one of them; `store` holds a prompt.
GIVEN = [
    (train.COMMAND, f"{SMALL} --job_dir={AT}"),
    (train.COMMAND, f"{SMALL} --dry_run --tfds_data_dir={AT}"),
    (train.COMMAND, f"{SMALL} --dry_run --gin.job.Job.data_dir='{AT}'"),
    (train.COMMAND, f"{SMALL} --dry_run --gin.job.Job.backbone='{AT}'"),
    (train.COMMAND, f"{SMALL} --dry_run --gin.job.Job.cache_dir='{AT}'"),
    (train.COMMAND, f"{SMALL} --dry_run --gin.job.Job.prompts_from=['{AT}']"),
    (train.COMMAND, f"--gin_file={AT}.gin --dry_run"),
    (train.COMMAND, f"{SMALL} --gin_search_paths={AT} --dry_run"),
    (train.COMMAND, "--gin_file=includes.gin --dry_run"),
    (pretrain.COMMAND, f"{PRETRAIN} --out={AT}"),
    (verify_resume.COMMAND, f"{SMALL} --out={AT}"),
    (report.COMMAND, f"--job_dir={AT}"),
    (evaluate.COMMAND, f"--store={AT} --out=out --backbone=miniature"),
    (evaluate.COMMAND, f"--store=store --out={AT} --backbone=miniature"),
    (evaluate.COMMAND, f"--store=store --out=out --backbone={AT}"),
    (evaluate.COMMAND, f"--store=store --out=out --cache_dir={AT}"),
    (predict.COMMAND, f"--store={AT}"),
    (predict.COMMAND, f"--store=store --file={AT}"),
    (predict.COMMAND, f"--store=store --backbone={AT} --file=includes.gin"),
    (convert.COMMANDS["export"], f"--store={AT} --format=npy --out=out"),
    (convert.COMMANDS["export"], f"--store=store --format=npy --out={AT}"),
    (
        convert.COMMANDS["export"],
        f"--store=store --format=npy --out=out --backbone={AT}",
    ),
    (convert.COMMANDS["import"], f"--store={AT} rte=rte.npy"),
    (convert.COMMANDS["import"], f"--store=new rte={AT}"),
    (convert.COMMANDS["import"], f"--store=new --p_init={AT} rte=rte.npy"),
    (convert.COMMANDS["import"], f"--store=new --backbone={AT} rte=rte.npy"),
    (convert.COMMANDS["similarities"], f"--store={AT}"),
    (
        convert.COMMANDS["backbone"],
        f"--backbone={AT} --format=hugging_face --out=out",
    ),
    (
        convert.COMMANDS["backbone"],
        f"--backbone=miniature --format=hugging_face --out={AT}",
    ),
]


def code(of: command.Command, flags: str) -> object:
    with pytest.raises(SystemExit) as end:
        command.run(of, ["command", *flags.split()])
    return end.value.code


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    """A folder with a prompt, and a store that holds it."""
    folder = tmp_path_factory.mktemp("store")
    np.save(folder / "rte.npy", np.zeros((2, 96), np.float32))
    made = f"--store={folder}/store --backbone=miniature rte={folder}/rte.npy"
    assert code(convert.COMMANDS["import"], made) == 0
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, store) -> Iterator[pathlib.Path]:
    """A working directory with a store, a prompt and a gin file."""
    # Users do not have the import hook of the tests.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    gin.clear_config()
    for name in ("store", "rte.npy"):
        (tmp_path / name).symlink_to(store / name)
    (tmp_path / "includes.gin").write_text(f"include '{AT}.gin'\n")
    yield tmp_path
    gin.clear_config()


@pytest.mark.parametrize("of, flags", GIVEN, ids=[flags for _, flags in GIVEN])
def test_an_address_is_refused_in_a_sentence(here, capsys, of, flags):
    assert code(of, flags) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert (
        "ftp:// is not supported: give one of gs://, s3://, az://, or the path" in err
    )
    assert not list(here.glob("ftp*"))


@pytest.mark.parametrize("of, flags", GIVEN, ids=[flags for _, flags in GIVEN])
def test_an_address_without_its_package_names_the_extra(
    here, capsys, monkeypatch, of, flags
):
    store = remote._STORES["gs"]._replace(package="not_installed")
    monkeypatch.setitem(remote._STORES, "gs", store)
    (here / "includes.gin").write_text(f"include '{GS}.gin'\n")
    assert code(of, flags.replace(AT, GS)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert "needs the package not_installed: run `pip install not_installed`" in err
    assert not list(here.glob("gs*"))
