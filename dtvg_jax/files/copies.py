"""Local copies of what lies in object stores: weights to map, data to stream, logs."""

import contextlib
import fnmatch
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import fsspec
from etils import epath
from fsspec import AbstractFileSystem

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import remote
from dtvg_jax.files.remote import Path

FOLDER = "fetched"  # of the cache
# Weights in formats that are not read, often next to those that are. They are copied as
# empty files: a name is enough to refuse them.
_UNREAD = (".bin", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth", ".gguf")
# What changes with an object, by the names of different stores.
_VERSIONS = ("etag", "ETag", "md5Hash", "content_md5", "mtime", "LastModified")


class _Listed(NamedTuple):
    """Objects by the names of their copies: where each lies, its size and version.

    Those whose names end as in `unread` come as empty files.
    """

    store: AbstractFileSystem
    places: dict[str, str]
    versions: dict[str, tuple[int, str]]
    unread: tuple[str, ...]


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
    there = _copied(lambda: _listed(folder, with_siblings), folder, cache_dir)
    return there / folder.parent.name / folder.name


def fetched_files(path: str, cache_dir: str | os.PathLike[str]) -> list[str]:
    """Copies a file into the cache, or those that a pattern names, as gs://b/x/*.csv.

    Copies have the names of the files and of their folder. A local path or pattern
    stays as it is. Only the last part of an address may be a pattern. Raises InputError
    for what is not there, and as `fetched` does.
    """
    above, _, name = path.rpartition("/")
    folder = remote.of_address(above)
    if folder is None:
        return [path]
    there = _copied(lambda: _files_like(folder, name), path, cache_dir)
    return [str(local) for local in sorted((there / folder.name).iterdir())]


def _copied(
    listed: Callable[[], _Listed],
    what: epath.Path | str,
    cache_dir: str | os.PathLike[str],
) -> pathlib.Path:
    """Copies what is listed into a folder of the cache, unless its content is there."""
    found = listed()
    cache = files.private_folder(files.private_folder(cache_dir) / FOLDER)
    there = cache / _digest(found.versions)
    with files.locked(there.with_name(f"{there.name}.lock"), wait=lambda: None):
        if not there.exists():
            size = sum(size for size, _ in found.versions.values())
            message = f"fetching {what}, {size / 1e6:,.1f} MB"
            print(message, file=sys.stderr, flush=True)
            _fetch(found, there)
            if listed().versions != found.versions:
                shutil.rmtree(there)
                raise InputError(
                    f"{what} changed while it was fetched: run the command again"
                )
    return there


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
    """Lists all below a folder, under its own name and that of the folder above."""
    store, top = fsspec.url_to_fs(os.fspath(folder))
    inside = store.find(top, detail=True)
    above = top.rstrip("/").rpartition("/")[0]
    around = store.find(above, maxdepth=1, detail=True) if with_siblings else {}
    found = _as_copies(store, inside | around, above, folder.parent.name, _UNREAD)
    inner = f"{folder.parent.name}/{folder.name}/"
    if not any(name.startswith(inner) for name in found.places):
        raise InputError(f"{folder} is not a folder, or is empty")
    return found


def _files_like(folder: epath.Path, pattern: str) -> _Listed:
    """Lists the files of a folder with a name, or with one that a pattern fits."""
    store, top = fsspec.url_to_fs(os.fspath(folder))
    like = {
        place: info
        for place, info in store.find(top, maxdepth=1, detail=True).items()
        if place.endswith(f"/{pattern}")
        or fnmatch.fnmatchcase(place.rpartition("/")[2], pattern)
    }
    found = _as_copies(store, like, top, folder.name, unread=())
    if not found.places:
        raise InputError(f"there is no file {folder}/{pattern}")
    return found


def _as_copies(
    store: AbstractFileSystem,
    listed: Mapping[str, Mapping[str, Any]],  # of fsspec
    top: str,
    under: str,
    unread: tuple[str, ...],
) -> _Listed:
    """Names the copies of objects below `top`, all in the folder `under`."""
    found = _Listed(store, {}, {}, unread)
    for place, info in sorted(listed.items()):
        name = place.removeprefix(top).lstrip("/")
        if ".." in name.split("/"):
            raise InputError(f"{top} has an object that leads out of it: {place!r}")
        if name[-1:] in ("", "/") or info["type"] != "file":
            continue
        version = next((str(info[tag]) for tag in _VERSIONS if info.get(tag)), "")
        found.places[f"{under}/{name}"] = place
        found.versions[f"{under}/{name}"] = int(info["size"]), version
    return found


def _fetch(found: _Listed, there: pathlib.Path) -> None:
    with _appearing(there) as part:
        for name, place in found.places.items():
            local = part / name
            local.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(found.unread):
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
