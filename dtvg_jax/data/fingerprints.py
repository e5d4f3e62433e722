"""What a token table depends on, told without SeqIO: code, files, prepared data."""

import glob
import hashlib
import importlib.util
import os
import pathlib
from typing import NamedTuple

from dtvg_jax.data import catalogue, prepared
from dtvg_jax.errors import InputError, check_field_types
from dtvg_jax.files import JsonObject


class Reads(NamedTuple):
    """What a task reads for one split.

    builder: a TFDS data set, such as "glue/rte:2.0.0"; None for a task without one.
    files: paths, or patterns of paths.
    """

    builder: str | None
    files: tuple[str, ...] = ()


def parse_reads(content: JsonObject) -> Reads:
    """Makes a `Reads` of its JSON.

    Raises InputError for a field that is missing or of another type.
    """
    builder, files = content.get("builder"), content.get("files")
    reads = Reads(builder, tuple(files) if isinstance(files, list) else files)  # pyright: ignore[reportArgumentType]
    check_field_types(reads)
    return reads


def code_digest(tasks_module: str) -> str:
    """Digests the sources of our tasks and of the package of `tasks_module`.

    Nothing is imported. Raises InputError where that package cannot be found.
    """
    digest = hashlib.sha256()
    packages = {catalogue.OURS: sorted(catalogue.FOLDER.rglob("*.py"))}
    # find_spec imports the parents of a dotted name, so only the top is asked for
    package = tasks_module.partition(".")[0]
    if tasks_module != catalogue.ALL and not catalogue.is_ours(package):
        packages[package] = _sources(package)
    for name, files in sorted(packages.items()):
        for file in files:
            digest.update(f"{name}/{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _sources(package: str) -> list[pathlib.Path]:
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise InputError(
            f"There is no Python package '{package}' to take tasks from: "
            "install it, or put its folder on PYTHONPATH."
        )
    folders = [pathlib.Path(place) for place in spec.submodule_search_locations or ()]
    if not folders:
        return [pathlib.Path(spec.origin)] if spec.origin else []
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


def data_digest(reads: Reads, tfds_data_dir: str | os.PathLike[str] | None) -> str:
    """Digests cheaply what lies where a task reads: names, sizes, TFDS's own records.

    Raises:
      InputError: where the data set or a file is missing.
    """
    digest = hashlib.sha256()
    if reads.builder:
        files = sorted(prepared.dataset(reads.builder, tfds_data_dir).iterdir())
    else:
        files = [file for pattern in reads.files for file in _matching(pattern)]
    for file in files:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size}\n".encode())
        if file.suffix == ".json":
            digest.update(file.read_bytes())
        if not reads.builder:  # a prepared data set does not change in place
            digest.update(str(status.st_mtime_ns).encode())
    return digest.hexdigest()


def _matching(pattern: str) -> list[pathlib.Path]:
    found = sorted(pathlib.Path(file) for file in glob.glob(pattern))
    if not found or not all(file.is_file() for file in found):
        raise InputError(f"There is no file {pattern}, which a task reads.")
    return found
