"""The prompt store: what a learned prompt is on disk.

store/p_init/<digest>.safetensors           the shared start, once per store
store/<task>/<method>-seed<n>/              an entry
    prompt.safetensors   prompt [P, H], tpv [P, H], target_scale, source_scales,
                         group where the method has them
    entry.json           the passport: what the prompt is and fits to
"""

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from dtvg_jax import files
from dtvg_jax.errors import InputError

FORMAT = 1


class Entry(NamedTuple):
    """One learned prompt: its arrays and its passport."""

    arrays: dict[str, np.ndarray]
    passport: dict[str, Any]


def digest(array: np.ndarray) -> str:
    """Hashes an array's shape and float32 bytes."""
    array = np.ascontiguousarray(array, "<f4")
    return hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()


class PromptStore:
    """A folder of learned prompts for one backbone."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = files.expand(folder)

    def names(self) -> list[str]:
        """Lists the entries, "<task>/<method>-seed<n>"."""
        found = self.folder.glob("*/*/entry.json")
        return sorted(str(p.parent.relative_to(self.folder)) for p in found)

    def write_p_init(self, p_init: np.ndarray) -> str:
        """Keeps a P_init under its digest, and returns that."""
        name = digest(p_init)
        path = self.folder / "p_init" / f"{name}.safetensors"
        if not path.exists():
            files.write_bytes(path, save({"p_init": p_init}))
        return name

    def read_p_init(self, name: str) -> np.ndarray:
        """Reads a P_init and checks it against its digest."""
        path = self.folder / "p_init" / f"{name}.safetensors"
        p_init = _load(path).get("p_init")
        if p_init is None or digest(p_init) != name:
            raise InputError(f"{path} is not the P_init that its name says: restore it")
        return p_init

    def write(
        self, name: str, arrays: Mapping[str, np.ndarray], passport: Mapping[str, Any]
    ) -> None:
        """Writes an entry; the folder appears whole. The same entry again is kept."""
        folder = self._entry(name)
        full = {
            "format": FORMAT,
            **passport,
            "prompt_digest": digest(arrays["prompt"]),
            "files": {"prompt.safetensors": _sha256(save(dict(arrays)))},
        }
        if (folder / "entry.json").is_file():
            if _read_passport(folder / "entry.json") == full:
                return
            raise InputError(
                f"{folder} holds another prompt already, and nothing is overwritten: "
                "remove it or use another job folder"
            )
        beside = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            files.write_bytes(beside / "prompt.safetensors", save(dict(arrays)))
            files.write_json(beside / "entry.json", full)
            os.rename(beside, folder)
        except OSError as error:
            raise InputError(f"{folder} cannot be written ({error})") from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def read(self, name: str, **expected: Any) -> Entry:
        """Reads an entry; fields of its passport given here must be equal.

        Raises InputError that names the fields that differ, a damaged or missing file.
        """
        folder = self._entry(name)
        path = folder / "entry.json"
        if not path.is_file():
            known = ", ".join(self.names()[:20]) or "none"
            raise InputError(f"no entry {name!r} in {self.folder}: there are {known}")
        passport = _read_passport(path)
        differing = [
            f"{field} is {passport.get(field)!r}, needed is {value!r}"
            for field, value in {"format": FORMAT, **expected}.items()
            if passport.get(field) != value
        ]
        if differing:
            raise InputError(f"{folder} does not fit: {'; '.join(differing)}")
        file = folder / "prompt.safetensors"
        arrays = _load(file)
        if _sha256(file.read_bytes()) != passport.get("files", {}).get(file.name):
            raise InputError(
                f"{file} is not the file that {path.name} names: restore it"
            )
        return Entry(arrays, passport)

    def _entry(self, name: str) -> pathlib.Path:
        parts = pathlib.PurePosixPath(name).parts
        if len(parts) != 2 or any(part.startswith((".", "/")) for part in parts):
            raise InputError(
                f"{name!r} is no name of a stored prompt: it is like 'mrpc/dtvg-seed42'"
            )
        return self.folder / name


def _read_passport(path: pathlib.Path) -> dict[str, Any]:
    try:
        passport = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not JSON ({error}): restore it") from None
    if not isinstance(passport, dict):
        raise InputError(f"{path} is no JSON object: restore it")
    return passport


def _load(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}): restore it") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
