"""Writing the miniature through the real TFDS builders, so that nothing else differs.

Names, versions, features, label names, stored order and files are those of the real
datasets; only the rows are ours. A dataset is there whole or not at all: TFDS writes it
beside its place and moves it there.
"""

import contextlib
import fcntl
import io
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from unittest import mock

from . import catalogue

MARKER = "miniature.json"
VERSION = 4  # of the generator: raise it when the same seed gives other rows


def write(
    out: str | os.PathLike[str], seed: int = 0, builders: Iterable[str] | None = None
) -> list[str]:
    """Writes datasets into a folder; returns the names of those that were not there.

    Args:
      out: the folder; others may write into it at the same time.
      seed: of the world.
      builders: which ("glue/rte:2.0.0"); None for all of them.

    Raises:
      ValueError: where the folder holds something else, or was made with another seed
        or by another version, or a dataset is not among those of the miniature.
    """
    out = pathlib.Path(out).absolute()
    wanted = list(catalogue.DATASETS if builders is None else builders)
    if unknown := [name for name in wanted if name not in catalogue.DATASETS]:
        known = ", ".join(catalogue.DATASETS)
        raise ValueError(f"the miniature has no {unknown[0]}: it has {known}")
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        _claim(out, seed)
        missing = [name for name in wanted if not _folder(out, name).exists()]
        for name in missing:
            for left in _folder(out, name).parent.glob("incomplete.*"):
                shutil.rmtree(left)  # by a killed run: nobody else is here
            prepare(name, out, catalogue.all_rows(name, seed))
    return missing


def prepare(
    name: str, data_dir: pathlib.Path, splits: Mapping[str, Iterable[Any]]
) -> None:
    """Runs a real builder on rows, (key, features), instead of downloaded ones."""
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


def _folder(out: pathlib.Path, builder: str) -> pathlib.Path:
    return out / builder.replace(":", "/")


def _claim(out: pathlib.Path, seed: int) -> None:
    """Marks an empty folder as this miniature's; refuses any other content."""
    marker, wanted = out / MARKER, {"version": VERSION, "seed": seed}
    if marker.is_file():
        found = json.loads(marker.read_text(encoding="utf-8"))
        if found != wanted:
            raise ValueError(
                f"{out} holds a miniature of seed {found.get('seed')}, version "
                f"{found.get('version')}, wanted is seed {seed}, version {VERSION}: "
                "remove it or give another folder"
            )
    elif any(path.name != _LOCK for path in out.iterdir()):
        raise ValueError(
            f"{out} is not empty and holds no {MARKER}: give a new or an empty folder"
        )
    else:
        part = out / f"{_LOCK}.marker"
        part.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
        part.rename(marker)


_LOCK = ".writing"


@contextlib.contextmanager
def _alone(out: pathlib.Path) -> Iterator[None]:
    with (out / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
