"""The tensors of a checkpoint: compared with a config, then read into our tree.

A tensor is read in chunks, in the order of its file, into its final memory. With the
largest first, loading needs hardly more memory than the parameters do. The layers of a
stack are separate tensors in most files and one leaf in our tree.
"""

import functools
import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Array

from dtvg_jax.errors import InputError
from dtvg_jax.models import backbone
from dtvg_jax.shapes import Params

Box = tuple[slice, ...]
Shardings: TypeAlias = Params  # the tree of shardings that parameters are put in

CHUNK = 16 * 2**20  # bytes in the file
ALIGNMENT = 64  # of memory that JAX on a CPU takes over without a copy
FLOATS = ("float32", "bfloat16", "float16", "float64")


class Tensor(NamedTuple):
    """A tensor in a file: its shape and dtype there, and a function that reads a box.

    step: the fewest rows that can be read at once without reading any twice
    transposed: it is a matrix whose transpose is the parameter
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[Box], np.ndarray]
    step: int = 1
    transposed: bool = False

    def chunks(self, box: Box) -> Iterator[tuple[slice, np.ndarray]]:
        """Reads a box piece by piece; yields the piece's rows within it, and values."""
        first, last, _ = box[0].indices(self.shape[0])
        width = np.dtype(self.dtype).itemsize * max(1, math.prod(self.shape[1:]))
        rows = self.step * max(1, CHUNK // (width * self.step))
        for start in range(first, last, rows):
            stop = min(start + rows, last)
            piece = self.read((slice(start, stop), *box[1:]))
            yield slice(start - first, stop - first), piece


class Slot(NamedTuple):
    """A place in our tree: a leaf, or a layer of a leaf that a stack's layers share."""

    path: str
    layer: int | None = None


# A leaf of our tree as files store it: one tensor, or one for each layer of a stack.
Leaf: TypeAlias = Tensor | list[Tensor]


class Checkpoint(NamedTuple):
    """An open checkpoint: its tensors by their place in our tree, not read yet.

    `files` are those that hold the parameters.
    """

    config: backbone.Config
    tensors: dict[Slot, Tensor]
    files: tuple[pathlib.Path, ...]

    def digest(self) -> str:
        """Gives the sha256 over the config and the sha256 of each file.

        The config is the one that was understood, not its file: attributes that change
        nothing, such as the version of the library, may differ.
        """
        config = json.dumps(backbone.described(self.config), sort_keys=True)
        total = hashlib.sha256(config.encode())
        for path in self.files:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def params(self, dtype: str, shardings: Shardings | None = None) -> Params:
        """Reads all tensors into a tree of `dtype`, each leaf directly sharded."""
        places = by_path(shardings if shardings is not None else {})
        leaves: dict[str, Array] = {}
        # Reading a leaf takes temporary memory in proportion to it, so the largest come
        # first.
        for path, stored in sorted(
            _leaves(self.tensors).items(),
            key=lambda item: (-math.prod(_shape(item[1])), item[0]),
        ):
            leaf = _place(stored, np.dtype(dtype), places.get(path))
            leaves[path] = leaf.block_until_ready()
        return traverse_util.unflatten_dict(leaves, sep="/")


def by_path(tree: Params) -> dict[str, Any]:
    """Lists the leaves of a tree like the parameters' by path."""
    return traverse_util.flatten_dict(tree, sep="/")


def at(leaves: Mapping[str, Array | np.ndarray], slot: Slot) -> Array | np.ndarray:
    """Gives the value at a place of our tree."""
    leaf = leaves[slot.path]
    return leaf if slot.layer is None else leaf[slot.layer]


def check(
    where: pathlib.Path,
    config: backbone.Config,
    names: Mapping[str, Slot],
    tensors: Mapping[str, Tensor],
) -> None:
    """Compares tensors with a config; `names` maps each name in the file to our place.

    Raises InputError that lists all missing, unexpected, misshapen and non-float ones.
    """
    shapes = _shapes(config)
    problems = []
    if missing := sorted(names.keys() - tensors.keys()):
        problems.append(f"missing: {', '.join(missing)}")
    if unexpected := sorted(tensors.keys() - names.keys()):
        problems.append(f"unexpected: {', '.join(unexpected)}")
    misshapen, strange = [], []
    for name in sorted(names.keys() & tensors.keys()):
        tensor, want = tensors[name], shapes[names[name].path]
        want = want if names[name].layer is None else want[1:]
        want = want[::-1] if tensor.transposed else want
        if want != tensor.shape:
            misshapen.append(f"{name} is {list(tensor.shape)}, should be {list(want)}")
        if tensor.dtype not in FLOATS:
            strange.append(f"{name} is {tensor.dtype}")
    if misshapen:
        problems.append(f"misshapen: {'; '.join(misshapen)}")
    if strange:
        problems.append(f"neither {' nor '.join(FLOATS)}: {'; '.join(strange)}")
    if problems:
        raise InputError(
            f"{where}: weights and config do not fit; {'. '.join(problems)}"
        )


def same(one: Tensor, other: Tensor) -> bool:
    """Compares two tensors chunk by chunk."""
    if one is other:
        return True
    if one.shape != other.shape:
        return False
    box = tuple(slice(0, size) for size in one.shape)
    pairs = zip(one.chunks(box), other.chunks(box), strict=True)
    return all(np.array_equal(left[1], right[1]) for left, right in pairs)


@functools.cache
def _shapes(config: backbone.Config) -> dict[str, tuple[int, ...]]:
    shapes = by_path(backbone.param_shapes(config))
    return {path: leaf.shape for path, leaf in shapes.items()}


def _leaves(tensors: Mapping[Slot, Tensor]) -> dict[str, Leaf]:
    found: dict[str, Leaf] = {}
    stacks: dict[str, dict[int, Tensor]] = {}
    for slot, tensor in tensors.items():
        if slot.layer is None:
            found[slot.path] = tensor
        else:
            stacks.setdefault(slot.path, {})[slot.layer] = tensor
    return found | {p: [s[i] for i in sorted(s)] for p, s in stacks.items()}


def _shape(leaf: Leaf) -> tuple[int, ...]:
    if isinstance(leaf, list):
        return len(leaf), *_shape(leaf[0])
    return leaf.shape[::-1] if leaf.transposed else leaf.shape


def _place(
    leaf: Leaf, dtype: np.dtype, sharding: jax.sharding.Sharding | None
) -> Array:
    shape = _shape(leaf)
    if sharding is None:
        return jax.device_put(_read(leaf, dtype, tuple(map(range, shape))))
    # Devices that hold the same part share what is read once.
    read = functools.cache(functools.partial(_read, leaf, dtype))

    def part(box: Box | None) -> np.ndarray:
        pairs = zip(box or (), shape, strict=True)
        return read(tuple(range(*one.indices(size)) for one, size in pairs))

    return jax.make_array_from_callback(shape, sharding, part)


def _read(leaf: Leaf, dtype: np.dtype, ranges: tuple[range, ...]) -> np.ndarray:
    """Reads a box of the parameter into memory of its own that JAX can take over."""
    box = tuple(slice(r.start, r.stop) for r in ranges)
    array = _aligned(tuple(len(r) for r in ranges), dtype)
    if isinstance(leaf, list):
        for target, tensor in zip(array, leaf[box[0]], strict=True):
            _fill(target, tensor, box[1:])
    else:
        _fill(array, leaf, box)
    return array


def _fill(target: np.ndarray, tensor: Tensor, box: Box) -> None:
    if tensor.transposed:
        target, box = target.T, box[::-1]
    for rows, values in tensor.chunks(box):
        target[rows] = values


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
