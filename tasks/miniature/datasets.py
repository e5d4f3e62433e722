"""Writing the miniature through the real TFDS builders, so that nothing else differs.

Names, versions, features, label names, stored order and files are those of the real
datasets; only the rows are ours.
"""

import contextlib
import io
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any
from unittest import mock

from tasks.miniature import rows as world_rows

MARKER = "miniature.json"
VERSION = 1  # of the generator: raise it when the same seed gives other rows


def write(out: str | os.PathLike[str], seed: int = 0) -> bool:
    """Writes the twelve datasets into a folder; returns False if they are there.

    The folder appears whole or not at all. Raises ValueError where the folder holds
    something else or was made with another seed or by another version.
    """
    out = pathlib.Path(out).absolute()
    if _complete(out, seed):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_dead(out)
    part = _partial(out, os.getpid())
    part.mkdir()
    try:
        for dataset in world_rows.DATASETS:
            _prepare(dataset.builder, part, world_rows.rows(dataset, seed))
        text = json.dumps(_identity(seed), indent=2) + "\n"
        (part / MARKER).write_text(text, encoding="utf-8")
        try:
            part.rename(out)  # also over an empty folder, not over a full one
        except OSError:
            if not _complete(out, seed):  # else another process was first
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def _prepare(
    name: str, data_dir: pathlib.Path, splits: Mapping[str, Iterable[Any]]
) -> None:
    """Runs a real builder on given rows instead of downloaded ones."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    builder = tfds.builder(name, data_dir=str(data_dir), try_gcs=False)
    generators = [
        tfds.core.SplitGenerator(name=split, gen_kwargs={"rows": rows})
        for split, rows in splits.items()
    ]
    with (
        mock.patch.object(builder, "_split_generators", lambda *a, **k: generators),
        mock.patch.object(builder, "_generate_examples", lambda rows: iter(rows)),
    ):
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        with contextlib.redirect_stdout(io.StringIO()):  # it speaks of downloading
            builder.download_and_prepare(download_config=config)


def _identity(seed: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        "seed": seed,
        "rows": {d.builder: d.rows for d in world_rows.DATASETS},
    }


def _complete(out: pathlib.Path, seed: int) -> bool:
    """Tells whether the folder holds this very miniature; refuses any other content."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    marker = out / MARKER
    if not marker.is_file():
        raise ValueError(
            f"{out} is not empty and holds no {MARKER}: give a new or an empty folder."
        )
    found = json.loads(marker.read_text(encoding="utf-8"))
    if found != _identity(seed):
        raise ValueError(
            f"{out} holds a miniature of seed {found.get('seed')}, version "
            f"{found.get('version')}, wanted is seed {seed}, version {VERSION}: remove "
            "it or give another folder."
        )
    return True


def _partial(out: pathlib.Path, process: int) -> pathlib.Path:
    return out.with_name(f".{out.name}.partial-{process}")


def _remove_dead(out: pathlib.Path) -> None:
    """Removes what killed runs left beside the folder."""
    prefix = _partial(out, 0).name.removesuffix("0")
    for folder in out.parent.glob(f"{prefix}*"):
        process = folder.name.removeprefix(prefix)
        if process.isdigit() and not _alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    if process == os.getpid():  # a new process can have the number of a dead one
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
