"""Digests what a table of the catalogue depends on, without SeqIO: code and data."""

import functools
import hashlib
import os

from dtvg_jax import files
from dtvg_jax.data import catalogue, prepared


@functools.cache
def code_digest() -> str:
    """Digests the sources of the catalogue; nothing is imported."""
    digest = hashlib.sha256()
    for file in sorted(catalogue.FOLDER.rglob("*.py")):
        digest.update(f"{catalogue.OURS}/{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def data_digest(builder: str, tfds_data_dir: str | os.PathLike[str] | None) -> str:
    """Digests a prepared data set cheaply: names, sizes, TFDS's own records.

    Raises InputError where it is missing, or its records cannot be read.
    """
    digest = hashlib.sha256()
    for file in sorted(prepared.dataset(builder, tfds_data_dir).iterdir()):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        if file.suffix == ".json":
            digest.update(files.read_bytes(file))
    return digest.hexdigest()
