"""T5X checkpoints to and from parameter trees, which have T5X's names.

    MODEL/
      checkpoint_1000000/        given itself, or the newest whole one of MODEL
      config.json or config.gin  here or in the checkpoint's own folder
      spiece.model               the vocabulary, likewise

config.json has Hugging Face's attributes of the model; config.gin is what T5X writes.
"""

import dataclasses
import json
import math
import pathlib
import re
import time
from collections.abc import Callable

import jax
import numpy as np
import tensorstore as ts
from flax import serialization, traverse_util

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.formats import t5x_files, t5x_gin, tensors
from dtvg_jax.formats.families import t5 as t5_files
from dtvg_jax.formats.tensors import Box, Checkpoint, Slot, Tensor
from dtvg_jax.models import backbone, t5
from dtvg_jax.shapes import Params

NAME = re.compile(r"checkpoint_(\d+)$")
STACKS = ("encoder", "decoder")
BIAS = "relpos_bias/rel_embedding"
# Names in a checkpoint that belong to the training run, not to the parameters.
IGNORED = ("state.", "train_ds", "PINNED")
VERSION = 3
CHUNK = 2**24  # elements


def find(folder: pathlib.Path) -> pathlib.Path | None:
    """Gives the checkpoint that `folder` is or the newest that it holds, if any."""
    state = t5x_files.state_folder(folder)
    own = (state / "checkpoint", state / "manifest.ocdbt")
    if NAME.match(folder.name) or any(path.is_file() for path in own):
        return folder
    steps = [
        p for p in folder.glob("checkpoint_*") if NAME.match(p.name) and p.is_dir()
    ]
    return max(steps, key=lambda p: int(p.name.partition("_")[2]), default=None)


def open_checkpoint(folder: pathlib.Path) -> Checkpoint:
    """Opens a checkpoint and checks that its arrays and its config fit.

    The optimizer's state is left out. Raises InputError that names the arrays or
    attributes that do not fit.
    """
    found = find(folder)
    if found is None:
        raise InputError(f"{folder} holds no folder checkpoint_<step> of T5X")
    config_file, attributes = _attributes(found)
    leaves = _unscanned(found, t5x_files.read_leaves(found))
    try:
        config = t5_files.config(
            attributes,
            vocabulary=leaves[t5x_files.EMBEDDING].shape[0],
            gated=any(path.endswith("/mlp/wi_1/kernel") for path in leaves),
        )
    except InputError as error:
        raise InputError(f"{config_file}: {error}") from None
    # T5X ties the head exactly where it scales its input.
    config = dataclasses.replace(
        config,
        tied_head=config.scale_outputs,
        bias_per_layer=any(re.search(rf"layers_\d+/{BIAS}$", path) for path in leaves),
    )
    names = {_name(slot): slot for slot in t5_files.tensor_names(config).values()}
    tensors.check(found, config, names, leaves)
    state = t5x_files.state_folder(found)
    parts = sorted(
        path
        for path in state.rglob("*")
        if path.is_file() and not path.relative_to(state).parts[0].startswith(IGNORED)
    )
    ours = {slot: leaves[name] for name, slot in names.items()}
    return Checkpoint(config, ours, tuple(parts))


def write(
    folder: str | pathlib.Path, config: backbone.Config, params: Params, step: int = 0
) -> pathlib.Path:
    """Writes `checkpoint_<step>` into a folder, with its config.json and config.gin.

    The checkpoint is a native one, version 3, of parameters and step without an
    optimizer's state; it appears whole or not at all. There is no config.gin for a T5
    that T5X's network cannot express. Raises InputError where something would be
    overwritten, and for a backbone other than a T5.
    """
    folder = pathlib.Path(folder)
    target = folder / f"checkpoint_{step}"
    known, leaves = _writable(config), tensors.by_path(params)
    described = _descriptions(known, str(leaves[t5x_files.EMBEDDING].dtype))
    paths = {folder / name: content for name, content in described.items()}
    conflicting = [
        p for p, content in paths.items() if p.exists() and p.read_bytes() != content
    ]
    if target.exists() or conflicting:
        raise InputError(
            f"{target if target.exists() else conflicting[0]} already exists, and "
            "nothing is overwritten: remove it or give another folder"
        )
    temporary = folder / f"{target.name}.tmp-{int(time.time())}"
    temporary.mkdir(parents=True)
    specs = {
        _name(slot): _write_array(temporary, _name(slot), tensors.at(leaves, slot))
        for slot in t5_files.tensor_names(known).values()
    }
    # As T5X's reader asks for it: the step is an array, and parameters without an
    # optimizer's state have no `param_states` at all.
    state = {"step": np.array(step, np.int32)}
    tree = {"target": traverse_util.unflatten_dict(specs, sep="/"), "state": state}
    index = serialization.msgpack_serialize({"version": VERSION, "optimizer": tree})
    (temporary / "checkpoint").write_bytes(index)
    for path, content in paths.items():
        files.write_bytes(path, content)
    return temporary.rename(target)


def _name(slot: Slot) -> str:
    """Gives T5X's name of a parameter, where layers are not scanned."""
    if slot.layer is None:
        return slot.path
    return slot.path.replace("/layers/", f"/layers_{slot.layer}/")


def _writable(config: backbone.Config) -> t5.T5Config:
    """Returns the config of a T5 that T5X can express; raises InputError for others."""
    if not isinstance(config, t5.T5Config):
        raise InputError("only a T5 can be written as T5X, which has no other models")
    if config.tied_head != config.scale_outputs:
        raise InputError(
            "T5X scales the decoder's output exactly where the head is tied to the "
            f"embedding; this T5 has tied_head {config.tied_head} and scale_outputs "
            f"{config.scale_outputs}, so it cannot be written as T5X"
        )
    return config


def _descriptions(config: t5.T5Config, dtype: str) -> dict[str, bytes]:
    """Gives the files that describe the model of a checkpoint, by name."""
    attributes = json.dumps(t5_files.attributes(config, dtype), indent=2) + "\n"
    bindings = t5x_gin.bindings(config, dtype)
    found = {"config.json": attributes.encode()}
    return found | ({"config.gin": bindings.encode()} if bindings else {})


def _write_array(
    folder: pathlib.Path, path: str, leaf: jax.Array | np.ndarray
) -> JsonObject:
    """Writes one array as zarr and gives its spec for the index, as T5X does."""
    name = f"target.{path.replace('/', '.')}"
    rows = max(1, CHUNK // math.prod(leaf.shape[1:]))
    metadata: JsonObject = {
        "chunks": [min(rows, leaf.shape[0]), *leaf.shape[1:]],
        "compressor": {"id": "gzip", "level": 1},
        "shape": list(leaf.shape),
    }
    spec: JsonObject = {
        "driver": "zarr",
        "dtype": str(leaf.dtype),
        "kvstore": {"driver": "file", "path": name},
        "metadata": metadata,
    }
    place = {"driver": "file", "path": f"{(folder / name).resolve()}/"}
    store = ts.open(spec | {"kvstore": place}, create=True).result()
    store.write(np.asarray(leaf)).result()
    return spec


def _attributes(checkpoint: pathlib.Path) -> tuple[pathlib.Path, JsonObject]:
    for folder in (checkpoint, checkpoint.absolute().parent):
        if (folder / "config.json").is_file():
            path = folder / "config.json"
            return path, files.read_json(path)
        if (folder / "config.gin").is_file():
            return folder / "config.gin", t5x_gin.attributes(folder / "config.gin")
    raise InputError(
        f"{checkpoint} does not say what model it is of: put the config.gin that T5X "
        "wrote, or a config.json with Hugging Face's attributes, into this folder or "
        "the one above"
    )


def _unscanned(folder: pathlib.Path, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives a tensor to each scanned layer (axis 1 of an array), and joins heads."""
    kept: dict[Tensor, np.ndarray] = {}

    def whole(tensor: Tensor) -> np.ndarray:
        # The layers of one array are read one after the other: the last array is kept.
        if tensor not in kept:
            kept.clear()
            kept[tensor] = tensor.read(())
        return kept[tensor]

    found: dict[str, Tensor] = {}
    for path, tensor in leaves.items():
        stack = path.partition("/")[0]
        rest = path.removeprefix(f"{stack}/{stack}/")
        if stack not in STACKS or rest == path:
            found[path] = _joined(path, tensor)
            continue
        if len(tensor.shape) < 2:
            raise InputError(f"{folder}: {path} should have its layers along axis 1")
        for i in range(tensor.shape[1]):
            layer = _layer(tensor, i, whole)
            found[f"{stack}/layers_{i}/{rest}"] = _joined(path, layer)
    return _shared_biases(found)


def _layer(tensor: Tensor, i: int, whole: Callable[[Tensor], np.ndarray]) -> Tensor:
    shape = (tensor.shape[0], *tensor.shape[2:])

    def read(box: Box) -> np.ndarray:
        return whole(tensor)[:, i][box]

    return Tensor(shape, tensor.dtype, read, shape[0])


def _joined(path: str, tensor: Tensor) -> Tensor:
    """Joins heads and head size into one axis, where T5X keeps two."""
    if len(tensor.shape) != 3 or not path.endswith("/kernel"):
        return tensor
    first, middle, last = tensor.shape
    shape = (first * middle, last) if "/out/" in path else (first, middle * last)

    def read(box: Box) -> np.ndarray:
        return tensor.read(()).reshape(shape)[box]

    return tensor._replace(shape=shape, read=read, step=shape[0])


def _shared_biases(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keeps one bias per stack if the biases of its layers are all equal."""
    layers = {
        stack: [p for p in found if re.fullmatch(rf"{stack}/layers_\d+/{BIAS}", p)]
        for stack in STACKS
    }
    for paths in layers.values():
        if not all(tensors.same(found[paths[0]], found[p]) for p in paths):
            return found
    for stack, paths in layers.items():
        for path in paths:
            found[f"{stack}/{BIAS}"] = found.pop(path)
    return found
