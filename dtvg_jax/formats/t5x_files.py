"""The files of a T5X checkpoint: an index in msgpack, arrays in TensorStore or Orbax.

Reads native checkpoints of versions 2 and 3 and those written through Orbax, with or
without OCDBT. No path in the index is followed out of the checkpoint's folder.
"""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import msgpack
import numpy as np
import tensorstore as ts
from flax import serialization

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.formats.tensors import Box, Tensor

# Where the parameters lie: native, Orbax, early Orbax, plain Flax.
ROOTS = ("optimizer/target/", "target/", "_optimizer/target/", "params/", "")
EMBEDDING = "token_embedder/embedding"  # of every T5, so it tells the root
ORBAX = "PLACEHOLDER://"
LARGEST_INDEX = 2**36  # bytes; it may hold the arrays
DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError)
TENSORFLOW = b"model_checkpoint_path"


class Stored(NamedTuple):
    """An array that is not in the index: arguments of `ts.open`."""

    spec: JsonObject
    assume_metadata: bool = False


# An array in memory, or one that is being opened.
Opening: TypeAlias = np.ndarray | ts.Future[ts.TensorStore]


def read_leaves(folder: pathlib.Path) -> dict[str, Tensor]:
    """Lists a checkpoint's parameters by path, "encoder/layers_0/mlp/wo/kernel".

    The optimizer's state is not opened. Raises InputError for a folder that is not a
    whole T5X checkpoint.
    """
    state = state_folder(folder)
    if (state / "manifest.ocdbt").is_file():
        places = dict(_ocdbt(state))
    elif (state / "checkpoint").is_file():
        places = dict(_index(state))
    else:
        places = dict(_folders(state))
    if not places:
        raise InputError(
            f"{folder} is not a T5X checkpoint: it should hold the file 'checkpoint' "
            "and a folder per array, or a folder 'state' as Orbax writes it"
        )
    root = next((r for r in ROOTS if r + EMBEDDING in places), None)
    if root is None:
        raise InputError(
            f"{folder} has no parameter target/{EMBEDDING}: it is not the checkpoint "
            "of a T5, or that array is missing"
        )
    found = {p.removeprefix(root): v for p, v in places.items() if p.startswith(root)}
    # All are opened at once, since each waits for a small file of its own.
    opening = {path: _open(folder, path, place) for path, place in found.items()}
    return {path: _tensor(folder, path, v) for path, v in opening.items()}


def state_folder(folder: pathlib.Path) -> pathlib.Path:
    """Finds the folder of the arrays: T5X put them into 'state' with Orbax."""
    return folder / "state" if (folder / "state").is_dir() else folder


def _open(folder: pathlib.Path, path: str, place: np.ndarray | Stored) -> Opening:
    if isinstance(place, np.ndarray):
        return place
    # Without this, a chunk whose file is gone would be read as zeros.
    spec = place.spec | {"driver": "zarr", "fill_missing_data_reads": False}
    try:
        return ts.open(spec, open=True, assume_metadata=place.assume_metadata)
    except ValueError as error:
        raise _closed(folder, path, error) from error


def _tensor(folder: pathlib.Path, path: str, opening: Opening) -> Tensor:
    if isinstance(opening, np.ndarray):
        array = _floats(opening)
        return Tensor(array.shape, str(array.dtype), lambda box: array[box])
    try:
        store = opening.result()
    except ValueError as error:
        raise _closed(folder, path, error) from error

    def read(box: Box) -> np.ndarray:
        try:
            return _floats(store[box].read().result())
        except ValueError as error:
            raise InputError(
                f"{folder}: the array {path} is damaged: {_first(error)}"
            ) from error

    dtype = str(_floats(np.zeros(0, store.dtype.numpy_dtype)).dtype)
    chunk = store.chunk_layout.read_chunk.shape or ()
    if any(
        (part or 1) > max(whole, 1)
        for part, whole in zip(chunk, store.shape, strict=True)
    ):
        # Reading one chunk would take more memory than the whole array.
        raise InputError(
            f"{folder}: the array {path} is {list(store.shape)}, but its chunks are "
            f"{list(chunk)}, which is more"
        )
    return Tensor(tuple(store.shape), dtype, read, (chunk[0] if chunk else None) or 1)


def _floats(array: np.ndarray) -> np.ndarray:
    """Undoes version 2's storing of bfloat16 as the integers of its bits."""
    return array.view(jnp.bfloat16) if array.dtype == np.uint16 else array


def _closed(folder: pathlib.Path, path: str, error: ValueError) -> InputError:
    return InputError(f"{folder}: the array {path} cannot be opened: {_first(error)}")


def _first(error: ValueError) -> str:
    """Gives TensorStore's message without the spec that it adds."""
    return str(error).partition(" [tensorstore_spec")[0]


def _ocdbt(state: pathlib.Path) -> Iterator[tuple[str, Stored]]:
    """Lists the arrays of Orbax's one database."""
    base = {"driver": "file", "path": f"{state.resolve()}/"}
    try:
        kvstore = ts.KvStore.open({"driver": "ocdbt", "base": base}).result()
        keys = [key.decode() for key in kvstore.list().result()]
    except ValueError as error:
        raise InputError(f"{state} is damaged: {_first(error)}") from error
    for name in (k.removesuffix("/.zarray") for k in keys if k.endswith("/.zarray")):
        place = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
        yield name.replace(".", "/"), Stored({"kvstore": place})


def _folders(state: pathlib.Path) -> Iterator[tuple[str, Stored]]:
    """Lists the arrays of Orbax without OCDBT: a folder each, and no index."""
    for path in sorted(state.glob("*/.zarray")):
        yield (
            path.parent.name.replace(".", "/"),
            Stored({"kvstore": _file(path.parent)}),
        )


def _index(state: pathlib.Path) -> Iterator[tuple[str, np.ndarray | Stored]]:
    """Walks the msgpack file: arrays in it, and those that it points to."""
    todo: list[tuple[str, object]] = [("", _unpack(state / "checkpoint"))]
    while todo:
        path, node = todo.pop()
        if isinstance(node, np.ndarray):
            yield path, node
        elif isinstance(node, str) and node.startswith(ORBAX):
            name = node.removeprefix(ORBAX)
            yield path, _stored(state, path, {"kvstore": {"path": name}})
        elif isinstance(node, dict) and {"driver", "kvstore"} <= node.keys():
            yield path, _stored(state, path, node)
        elif isinstance(node, dict):
            todo += [(f"{path}/{k}" if path else str(k), v) for k, v in node.items()]


def _unpack(path: pathlib.Path) -> JsonObject:
    content = files.read_bytes(path, LARGEST_INDEX)
    if content.startswith(TENSORFLOW):
        raise InputError(
            f"{path} is a TensorFlow checkpoint (Mesh TensorFlow); T5X can convert it, "
            "and then it is read here"
        )
    try:
        tree = serialization.msgpack_restore(content)
    except (*DAMAGE, msgpack.UnpackException) as error:
        raise InputError(
            f"{path} is not a whole msgpack file of T5X: {error}"
        ) from error
    if not isinstance(tree, dict):
        raise InputError(f"{path} holds no tree of parameters")
    if tree.get("version", 3) not in (2, 3):
        raise InputError(
            f"{path} is of version {tree['version']} of T5X's format; known are 2 and "
            "3; save it again with a newer T5X"
        )
    return tree


def _stored(state: pathlib.Path, path: str, spec: JsonObject) -> Stored:
    """Points a spec of the index into this folder, whatever file system it names."""
    kvstore = spec["kvstore"]
    inner = kvstore.get("path") if isinstance(kvstore, dict) else None
    name = spec.get("path") or inner
    driver = spec.get("driver", "zarr")
    if not isinstance(name, str) or "\0" in name or driver != "zarr":
        raise InputError(f"{state}/checkpoint: {path} does not name a zarr array")
    folder = state / name
    if not folder.resolve().is_relative_to(state.resolve()) or name.startswith("/"):
        raise InputError(
            f"{state}/checkpoint: {path} points to {name!r}, out of the checkpoint's "
            "folder; that is not followed"
        )
    if not folder.is_dir():
        raise InputError(
            f"{state}/checkpoint: {path} points to {name!r}, a folder that is missing; "
            "copy the whole checkpoint"
        )
    metadata = spec.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if (folder / ".zarray").is_file():
        shape = {k: v for k, v in metadata.items() if k == "shape"}
        return Stored({"kvstore": _file(folder), "metadata": shape})
    # Copied without its dotfiles; the index says the same.
    dtype = {k: v for k, v in spec.items() if k == "dtype"}
    return Stored({"kvstore": _file(folder), "metadata": metadata} | dtype, True)


def _file(folder: pathlib.Path) -> dict[str, str]:
    return {"driver": "file", "path": f"{folder.resolve()}/"}
