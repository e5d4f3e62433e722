"""Where prepared TFDS data lie; the miniature is generated where it is absent."""

import importlib
import os
import pathlib

from dtvg_jax.errors import InputError

MINIATURE = "miniature"


def folder(data_dir: str, cache_dir: str | os.PathLike[str]) -> pathlib.Path:
    """Gives the folder of `data_dir`, writing the miniature if that is asked for.

    Raises InputError where the folder is absent, or the miniature cannot be written.
    """
    if data_dir != MINIATURE:
        path = pathlib.Path(data_dir).expanduser()
        if not path.is_dir():
            raise InputError(
                f"data_dir = {data_dir!r} is no folder: give one of prepared TFDS "
                f"data, or {MINIATURE!r} for generated data"
            )
        return path
    path = pathlib.Path(cache_dir) / MINIATURE
    try:
        importlib.import_module("tasks.miniature.datasets").write(path)
    except (ValueError, OSError) as error:
        raise InputError(f"the miniature cannot be written: {error}") from None
    return path
