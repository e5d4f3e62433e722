"""Finds prepared TFDS data; generates what is missing, or downloads it if asked."""

import dataclasses
import importlib
import os
import pathlib
from collections.abc import Sequence
from typing import TypeVar

from etils import epath

from dtvg_jax import files
from dtvg_jax.data import catalogue
from dtvg_jax.errors import InputError
from dtvg_jax.files import copies

MINIATURE = "miniature"
_INFO = "dataset_info.json"
_Folder = TypeVar("_Folder", pathlib.Path, epath.Path)
_REMEDY = "prepare the data set again with TensorFlow Datasets"


@dataclasses.dataclass(frozen=True)
class _Split:
    name: str


@dataclasses.dataclass(frozen=True)
class _Info:
    """The fields that we read of TFDS's record of a data set, by its names."""

    fileFormat: str = "tfrecord"  # noqa: N815
    splits: tuple[_Split, ...] = ()


def folder(
    data_dir: str,
    cache_dir: str | os.PathLike[str],
    builders: Sequence[str],
    download: bool = False,
) -> pathlib.Path:
    """Gives the folder of `data_dir`, with the data sets that a run reads in it.

    Args:
      data_dir: of prepared TFDS data, or "miniature".
      cache_dir: where the miniature is written.
      builders: the data sets, "glue/rte:2.0.0"; those of the miniature are generated.
      download: download and prepare those that are missing; needs a network.

    Raises:
      InputError: where the folder is absent, or the data cannot be prepared.
    """
    if data_dir == MINIATURE:
        return _miniature(cache_dir, builders)
    path = files.expand(data_dir)
    if not isinstance(path, pathlib.Path):
        return _fetched(path, cache_dir, builders, download)
    if download:
        _download(path, builders)
    if not path.is_dir():
        raise InputError(
            f"data_dir = {data_dir!r} is not a folder: give one of prepared TFDS "
            f"data, or {MINIATURE!r} for generated data"
        )
    return path


def dataset(builder: str, root: str | os.PathLike[str] | None) -> pathlib.Path:
    """Finds the folder of a prepared data set, `builder`, in the data folder `root`.

    Raises:
      InputError: where it is missing, or in a format that TensorFlow cannot read.
    """
    if root is None:
        raise InputError(
            f"the data set {builder} needs a data folder: give the folder that "
            "TensorFlow Datasets were prepared in (tfds_data_dir)"
        )
    return _dataset(builder, pathlib.Path(root))


def _dataset(builder: str, root: _Folder) -> _Folder:
    if not root.is_dir():
        raise InputError(
            f"the data folder {root} does not exist: give the folder that "
            "TensorFlow Datasets were prepared in (tfds_data_dir)"
        )
    found = _find(builder, root)
    if found is None:
        name, _, version = builder.partition(":")
        raise InputError(
            f"the data set {builder} is not prepared under {root} (no "
            f"{name}/{version}/{_INFO} there): prepare it with "
            "TensorFlow Datasets, or give another data folder"
        )
    info = files.read_record(found / _INFO, _Info, _REMEDY)
    if info.fileFormat == "array_record":
        raise InputError(
            f"the data set {found} is in the format array_record, which TensorFlow "
            "Datasets cannot stream: prepare it again with file_format='tfrecord'"
        )
    return found


def _find(builder: str, root: _Folder) -> _Folder | None:
    name, _, version = builder.partition(":")
    # A task may ask for a range of versions, "2.*.*": the newest is taken, as in TFDS.
    found = sorted(root.glob(f"{name}/{version}/{_INFO}"))
    return found[-1].parent if found else None


def _fetched(
    root: epath.Path,
    cache_dir: str | os.PathLike[str],
    builders: Sequence[str],
    download: bool,
) -> pathlib.Path:
    """Copies data sets from an address, and gives the cache folder that has them."""
    if download:
        raise InputError(
            f"data sets cannot be prepared at {root}: prepare them in a local folder, "
            "and copy that"
        )
    found = {builder: _dataset(builder, root) for builder in builders}
    copied = {
        f"{builder.partition(':')[0]}/{path.name}": copies.fetched(path, cache_dir)
        for builder, path in found.items()
    }
    return copies.linked(copied, cache_dir)


def _miniature(
    cache_dir: str | os.PathLike[str], builders: Sequence[str]
) -> pathlib.Path:
    datasets = catalogue.module("miniature.datasets")
    try:
        path = files.private_folder(cache_dir) / f"{MINIATURE}-{datasets.VERSION}"
        datasets.write(path, builders=builders)
    except (ValueError, OSError) as error:
        raise InputError(f"the miniature cannot be written: {error}") from None
    return path


def _download(path: pathlib.Path, builders: Sequence[str]) -> None:
    missing = [name for name in builders if not _find(name, path)]
    if not missing:
        return
    tfds = importlib.import_module("tensorflow_datasets")
    for name in missing:
        print(f"fetching {name} into {path}", flush=True)
        try:
            tfds.builder(name, data_dir=str(path)).download_and_prepare()
        except Exception as error:  # whatever the network or a builder raises
            raise InputError(
                f"{name} cannot be fetched: {error}; prepare it where there is a "
                f"network, by `tfds build {name.partition(':')[0]} --data_dir DIR`"
            ) from None
