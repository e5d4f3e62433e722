"""Addresses of object stores, such as gs://bucket/folder, as paths.

An object appears whole, is replaced whole, and is visible to all at once. Stores have
no locks, no appending and no files to map into memory: `lease` stands in for the first,
`copies` for the others.
"""

import importlib.util
import logging
import os
import pathlib
import re
import traceback
import uuid
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from etils import epath

from dtvg_jax.errors import InputError

# Read by epath at the first path: it would load TensorFlow for its client.
os.environ.setdefault("EPATH_USE_TF", "false")

Path: TypeAlias = pathlib.Path | epath.Path


class _Store(NamedTuple):
    """What a scheme needs: a package.

    protocols: the names of the package's file system in fsspec
    jobs: whether TensorStore, which writes the arrays of checkpoints, knows the scheme
    """

    package: str
    protocols: tuple[str, ...]
    jobs: bool = True


_STORES = {
    "gs": _Store("gcsfs", ("gs", "gcs")),
    "s3": _Store("s3fs", ("s3", "s3a")),
    "az": _Store("adlfs", ("az", "abfs", "abfss"), jobs=False),
}
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<place>.*)", re.DOTALL)
# Glob patterns, object versions and parent folders: the name of one object has none.
# `pathlib` makes one slash of two.
_ONE_SLASH = re.compile(rf"({'|'.join(_STORES)}):/(?!/)(?P<place>.*)", re.DOTALL)
_NO_NAME = re.compile(r"[*?\[\]#\x00-\x1f]|(^|/)\.\.(/|$)")
# TensorStore's errors, which are ValueErrors, begin with these, whatever the store.
_REFUSALS = re.compile(
    "UNAVAILABLE|PERMISSION_DENIED|UNAUTHENTICATED|DEADLINE_EXCEEDED|"
    r"RESOURCE_EXHAUSTED|ABORTED: All \d+ retry"
)

# Each is called with a path before it is written, and raises to forbid that.
guards: list[Callable[[Path], None]] = []


def of_address(text: str) -> epath.Path | None:
    """Makes a path of an address; None for the path of a local file or folder.

    Raises InputError for a scheme that is not supported or lacks its package, and for
    an address that names no file or folder.
    """
    found = _ADDRESS.match(text)
    if found is None:
        if one_slash := _ONE_SLASH.match(text):
            scheme, place = one_slash.groups()
            raise InputError(
                f"{text} is neither an address nor a folder: give the text "
                f"'{scheme}://{place}', which is no pathlib.Path"
            )
        return None
    scheme, place = found["scheme"], found["place"]
    store = _STORES.get(scheme)
    if store is None:
        known = ", ".join(f"{name}://" for name in _STORES)
        raise InputError(
            f"{text} is an address, and {scheme}:// is not supported: give one of "
            f"{known}, or the path of a local or mounted folder"
        )
    if not place.strip("/") or _NO_NAME.search(place):
        raise InputError(
            f"{text!r} names no file or folder: it should be {scheme}://BUCKET/FOLDER, "
            "with none of *, ?, [, ], # and .. in it"
        )
    if importlib.util.find_spec(store.package) is None:
        raise InputError(
            f"{text}: {scheme}:// needs the package {store.package}: run "
            f"`pip install {store.package}`"
        )
    _configure(store)
    return epath.Path(text)


def _configure(store: _Store) -> None:
    import fsspec.config

    # A file system caches its listings, and would not see what others write.
    for protocol in store.protocols:
        settings = fsspec.config.conf.setdefault(protocol, {})
        settings.setdefault("use_listings_cache", False)
    # Its log would repeat what its exceptions say.
    logging.getLogger(store.package).setLevel(logging.CRITICAL)


def check_jobs(folder: Path) -> None:
    """Raises InputError for a store that cannot hold checkpoints, and so no job."""
    for scheme, store in _STORES.items():
        if str(folder).startswith(f"{scheme}://") and not store.jobs:
            able = " or ".join(
                f"{name}://" for name, one in _STORES.items() if one.jobs
            )
            raise InputError(
                f"{folder}: checkpoints cannot be written to {scheme}://: give a local "
                f"folder or one at {able} for the job"
            )


def refused(error: BaseException) -> bool:
    """Tells whether an error means that a store is unreachable or denies access."""
    packages = {store.package for store in _STORES.values()}
    frames = traceback.walk_tb(error.__traceback__)
    modules = {frame.f_globals.get("__name__", "") for frame, _ in frames}
    through = packages & {name.partition(".")[0] for name in modules}
    of_tensorstore = isinstance(error, ValueError) and _REFUSALS.match(str(error))
    return bool(through) or bool(of_tensorstore)


def create(path: Path, content: bytes) -> None:
    """Creates a file with its content at once; raises FileExistsError if it exists.

    Of several processes that create it at the same time only one succeeds, if the store
    supports that.
    """
    if isinstance(path, pathlib.Path):
        # A hard link appears with its content, and for one process only, on NFS too.
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(content)
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return
    import fsspec

    store, name = fsspec.url_to_fs(os.fspath(path))
    store.pipe_file(name, content, mode="create")
