"""Local copies of what lies in object stores: weights to map, data to stream, logs."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import fsspec
from etils import epath
from fsspec import AbstractFileSystem

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files.remote import Path

FOLDER = "fetched"  # of the cache
# Weights in formats that are not read, often next to those that are. They are copied as
# empty files: a name is enough to refuse them.
_UNREAD = (".bin", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth", ".gguf")
# What changes with an object, by the names of different stores.
_VERSIONS = ("etag", "ETag", "md5Hash", "content_md5", "mtime", "LastModified")


class _Listed(NamedTuple):
    """The objects of a folder, by their names relative to its parent.

    places: where each is in the store
    versions: its size in bytes, and what changes with its content
    """

    store: AbstractFileSystem
    places: dict[str, str]
    versions: dict[str, tuple[int, str]]


def fetched(
    folder: Path, cache_dir: str | os.PathLike[str], with_siblings: bool = False
) -> pathlib.Path:
    """Copies a remote folder into the cache, unless its content is there already.

    The copy appears whole, as PARENT/FOLDER; `with_siblings` copies the parent's own
    files too. A local folder is returned as it is. Raises InputError for a folder
    without files, and for one that changes meanwhile.
    """
    if isinstance(folder, pathlib.Path):
        return folder
    found = _listed(folder, with_siblings)
    if not any(name.startswith(f"{folder.name}/") for name in found.places):
        raise InputError(f"{folder} is not a folder, or is empty")
    cache = files.private_folder(files.private_folder(cache_dir) / FOLDER)
    there = cache / _digest(found.versions)
    with files.locked(there.with_name(f"{there.name}.lock"), wait=lambda: None):
        if not there.exists():
            size = sum(size for size, _ in found.versions.values())
            message = f"fetching {folder}, {size / 1e6:,.1f} MB"
            print(message, file=sys.stderr, flush=True)
            _fetch(found, there, folder.parent.name)
            if _listed(folder, with_siblings).versions != found.versions:
                shutil.rmtree(there)
                raise InputError(
                    f"{folder} changed while it was fetched: run the command again"
                )
    return there / folder.parent.name / folder.name


def linked(
    folders: Mapping[str, pathlib.Path], cache_dir: str | os.PathLike[str]
) -> pathlib.Path:
    """Makes a folder of the cache in which each of `folders` is under its name."""
    cache = files.private_folder(files.private_folder(cache_dir) / FOLDER)
    root = cache / _digest({name: str(path) for name, path in folders.items()})
    with files.locked(root.with_name(f"{root.name}.lock"), wait=lambda: None):
        if not root.exists():
            with _appearing(root) as part:
                for name, path in folders.items():
                    (part / name).parent.mkdir(parents=True, exist_ok=True)
                    (part / name).symlink_to(path.absolute())
    return root


class WorkingCopy:
    """A local folder for files that are appended to, and then uploaded.

    For a local folder it is the folder itself, and nothing is uploaded.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._uploaded: dict[pathlib.Path, tuple[int, int]] = {}
        self._temporary = contextlib.ExitStack()
        if isinstance(folder, pathlib.Path):
            self.path = folder
        else:
            made = tempfile.TemporaryDirectory(prefix="dtvg_jax-")
            self.path = pathlib.Path(self._temporary.enter_context(made))

    def fetch(self, name: str) -> None:
        """Copies a file into it, if there is one."""
        source, local = self._folder / name, self.path / name
        if source != local and source.exists():
            local.write_bytes(source.read_bytes())
            self._uploaded[local] = _stamp(local)

    def upload(self) -> None:
        """Uploads what has changed, each file whole."""
        if self.path == self._folder:
            return
        for local in sorted(path for path in self.path.rglob("*") if path.is_file()):
            stamp = _stamp(local)
            if self._uploaded.get(local) != stamp:
                name = local.relative_to(self.path).as_posix()
                files.write_bytes(self._folder / name, local.read_bytes())
                self._uploaded[local] = stamp

    def close(self) -> None:
        """Uploads what is left, and removes the copy."""
        with self._temporary:
            self.upload()


def _listed(folder: epath.Path, with_siblings: bool) -> _Listed:
    store, top = fsspec.url_to_fs(os.fspath(folder))
    listed = dict(store.find(top, detail=True))
    above = top.rstrip("/").rpartition("/")[0]
    if with_siblings:
        listed |= store.find(above, maxdepth=1, detail=True)
    found = _Listed(store, {}, {})
    for place, info in sorted(listed.items()):
        name = place.removeprefix(above).lstrip("/")
        if ".." in name.split("/"):
            raise InputError(f"{folder} has an object that leads out of it: {place!r}")
        if name.endswith("/") or info["type"] != "file":
            continue
        version = next((str(info[tag]) for tag in _VERSIONS if info.get(tag)), "")
        found.places[name] = place
        found.versions[name] = int(info["size"]), version
    return found


def _fetch(found: _Listed, there: pathlib.Path, above: str) -> None:
    with _appearing(there) as part:
        for name, place in found.places.items():
            local = part / above / name
            local.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(_UNREAD):
                local.touch()
                continue
            found.store.get_file(place, str(local))
            if local.stat().st_size != found.versions[name][0]:
                raise InputError(
                    f"{place} was copied only in part: run the command again"
                )


@contextlib.contextmanager
def _appearing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a folder to fill, which is renamed to `folder` once it is complete."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        yield part
        part.rename(folder)
        files.sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _stamp(path: pathlib.Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
