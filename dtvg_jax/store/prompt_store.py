"""The prompt store: a folder of learned prompts.

store/p_init/<digest>.safetensors           the shared start, once per store
store/<task>/<method>-seed<n>/              an entry
    prompt.safetensors                      its arrays
    entry.json                              its metadata, see `entries.Metadata`, sealed
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import struct
from collections.abc import Mapping

import numpy as np
from etils import epath
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.store import entries
from dtvg_jax.store.entries import Arrays, Entry, Fit, Metadata

ARRAYS_FILE, METADATA_FILE = "prompt.safetensors", "entry.json"
LIMIT = 2**34  # bytes of arrays

Prompt = Float[np.ndarray, "P H"]


def digest(array: np.ndarray) -> str:
    """Hashes an array's shape and float32 bytes."""
    array = np.ascontiguousarray(array, "<f4")
    return hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()


class PromptStore:
    """A folder of learned prompts.

    `names` lists the entries, `read` gives one with its arrays and metadata, `write`
    adds one; nothing is overwritten.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = files.expand(folder)

    def names(self) -> list[str]:
        """Lists the entries, "<task>/<method>-seed<n>"."""
        return sorted(name for name in self._folders() if entries.is_name(name))

    def strays(self) -> list[str]:
        """Lists folders that hold an entry but are not named as one, such as copies."""
        return sorted(name for name in self._folders() if not entries.is_name(name))

    def remove_leftovers(self) -> None:
        """Removes what killed processes had begun to write.

        Call it only while no other process writes: under the lock of the job.
        """
        for folder in self.folder.glob("*/.*-seed*.*"):
            epath.Path(folder).rmtree()  # on a disk or in a bucket

    def _folders(self) -> list[str]:
        found = self.folder.glob(f"*/*/{METADATA_FILE}")
        return [path.parent.relative_to(self.folder).as_posix() for path in found]

    def write_p_init(self, p_init: Prompt) -> str:
        """Writes a P_init under its digest, and returns the digest."""
        name = digest(p_init)
        path = self._p_init_path(name)
        if not path.exists():
            files.write_bytes(path, save({"p_init": p_init}))
        return name

    def read_p_init(self, name: str) -> Prompt:
        """Reads a P_init and compares it with its digest."""
        path = self._p_init_path(name)
        p_init = _arrays(path, files.read_bytes(path, LIMIT)).get("p_init")
        if p_init is None or digest(p_init) != name:
            raise InputError(f"{path} is not the P_init that its name says: restore it")
        return p_init

    def write(self, arrays: Arrays, metadata: Metadata) -> None:
        """Writes an entry; its folder appears whole. Writing it again changes nothing.

        Raises InputError if another prompt has that name already, or nothing can be
        written.
        """
        folder = self._folder(str(metadata.name))
        content = _serialise(arrays, metadata)
        length, width = arrays["prompt"].shape
        full = dataclasses.replace(
            metadata,
            prompt_length=metadata.prompt_length or length,
            width=metadata.width or width,
            prompt_digest=digest(arrays["prompt"]),
            format=entries.FORMAT,  # an entry may have been read in an older format
            files={ARRAYS_FILE: hashlib.sha256(content).hexdigest()},
        )
        metadata_json = files.json_bytes(files.seal(dataclasses.asdict(full)))
        if (folder / METADATA_FILE).is_file():
            if (folder / METADATA_FILE).read_bytes() == metadata_json:
                return
            raise InputError(
                f"{folder} holds another prompt already, and nothing is overwritten: "
                "remove it or use another job folder"
            )
        _write_folder(folder, {ARRAYS_FILE: content, METADATA_FILE: metadata_json})

    def read(self, name: str, fit: Fit = Fit()) -> Entry:  # noqa: B008 (immutable)
        """Reads an entry such as "rte/dtvg-seed42"; `Entry` lists its arrays.

        Raises InputError that names the fields that differ from `fit`, a missing or
        damaged file, or a folder that holds the entry of another name.
        """
        folder = self._folder(name)
        path = folder / METADATA_FILE
        if not path.exists():
            known = ", ".join(self.names()[:20]) or "none"
            raise InputError(f"no entry {name!r} in {self.folder}: there are {known}")
        metadata = _read_metadata(path)
        if str(metadata.name) != name:
            raise InputError(
                f"{folder} holds the entry {metadata.name}: it was copied or renamed; "
                "restore it"
            )
        if differing := fit.differences(metadata):
            raise InputError(f"{folder} does not fit: {'; '.join(differing)}")
        content = files.read_bytes(folder / ARRAYS_FILE, LIMIT)
        arrays = _arrays(folder / ARRAYS_FILE, content)
        if "prompt" not in arrays:
            raise InputError(
                f"{folder / ARRAYS_FILE} has no array 'prompt': restore it"
            )
        if hashlib.sha256(content).hexdigest() != metadata.files.get(ARRAYS_FILE):
            raise InputError(
                f"{folder / ARRAYS_FILE} is not the file that {METADATA_FILE} names: "
                "restore it"
            )
        if digest(arrays["prompt"]) != metadata.prompt_digest:
            raise InputError(
                f"{path}: prompt_digest is not that of {ARRAYS_FILE}: restore it"
            )
        _check_arrays(path, arrays, metadata)
        return Entry(arrays, metadata)

    def _folder(self, name: str) -> files.Path:
        return self.folder / str(entries.parse(name))

    def _p_init_path(self, name: str) -> files.Path:
        return self.folder / "p_init" / f"{name}.safetensors"


def _write_folder(folder: files.Path, content: Mapping[str, bytes]) -> None:
    """Writes the files of an entry; it exists once the last one does."""
    if not isinstance(folder, pathlib.Path):
        for name, of_file in content.items():
            files.write_bytes(folder / name, of_file)
        return
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, of_file in content.items():
            files.write_bytes(temporary / name, of_file)
        os.rename(temporary, folder)
        files.sync(folder.parent)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_metadata(path: files.Path) -> Metadata:
    content = files.read_json(path)
    if content.get("format") not in (entries.UNSEALED, entries.FORMAT):
        raise InputError(
            f"{path} has format {content.get('format')!r}, this version reads format "
            f"{entries.FORMAT}"
        )
    if content["format"] == entries.FORMAT:
        content = files.unseal(content, path, "restore it")
    return files.record(Metadata, content, str(path))


def _check_arrays(path: files.Path, arrays: Arrays, metadata: Metadata) -> None:
    """Compares the arrays of an entry with its metadata, and looks at their values."""
    shape = arrays["prompt"].shape
    length, width = metadata.prompt_length, metadata.width
    if len(shape) != 2 or (length or shape[0], width or shape[1]) != shape:
        raise InputError(
            f"{path} says that the prompt is [{length or 'P'}, {width or 'H'}], but in "
            f"{ARRAYS_FILE} it is {list(shape)}: restore it"
        )
    if (tpv := arrays.get("tpv")) is not None and tpv.shape != shape:
        raise InputError(
            f"{path.parent / ARRAYS_FILE}: the array 'tpv' is {list(tpv.shape)} and "
            f"'prompt' {list(shape)}, which should be the same: restore it"
        )
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"{path.parent}: the array {name!r} has values that are not finite; "
                "learn that prompt again"
            )


def _serialise(arrays: Arrays, metadata: Metadata) -> bytes:
    """Gives the bytes of the arrays' file, whose header says what the prompt is."""
    about = {
        "task": metadata.task,
        "method": metadata.method,
        "variant": metadata.variant,
        "seed": str(metadata.seed),
        "backbone": metadata.backbone or "",
    }
    content = save(dict(arrays), metadata=about)
    # The library writes the keys of its header in an order that differs from process to
    # process, and a resumed job must end with the same bytes.
    [size] = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(size)
    return content[:8] + text + content[8 + size :]


def _arrays(path: files.Path, content: bytes) -> dict[str, np.ndarray]:
    try:
        return load(content)
    except SafetensorError as error:
        raise InputError(f"{path} cannot be read ({error}): restore it") from None
