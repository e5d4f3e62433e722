"""Which mesh axes the axes of parameters, rows and lanes are sharded over."""

import contextlib
import contextvars
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

# The axes of a mesh, the outermost first.
AXES = ("lanes", "rows", "fsdp", "tensor")
# Rows are sharded over all but the last, whose devices share the work of each row.
ROWS = ("lanes", "rows", "fsdp")
# The array axes that the code names, and the mesh axes that they are sharded over. All
# others, such as "layers" or "length", are not sharded.
RULES = {
    "batch": ROWS,
    "lanes": ("lanes",),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "joined_kv": ("tensor",),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
}

Tree = TypeVar("Tree")

_MESH: contextvars.ContextVar[Mesh | None]
_MESH = contextvars.ContextVar("mesh", default=None)


def of(
    axes: Sequence[str | None],
    shape: Sequence[int],
    mesh: Mesh,
    whole: Collection[str] = (),
) -> NamedSharding:
    """Gives the sharding of an array whose axes have these names.

    An axis that does not divide evenly is not sharded, and no axis is sharded over the
    mesh axes in `whole`.
    """
    spec: list[tuple[str, ...] | None] = []
    for name, size in zip(axes, shape, strict=True):
        over = tuple(a for a in RULES.get(name or "", ()) if a not in whole)
        fits = size % math.prod(mesh.shape[a] for a in over) == 0
        spec.append(over if over and fits else None)
    return NamedSharding(mesh, PartitionSpec(*spec))


@contextlib.contextmanager
def on(mesh: Mesh | None) -> Iterator[None]:
    """Makes `constrain` and `gathered` take effect in functions traced inside."""
    token = _MESH.set(mesh)
    try:
        yield
    finally:
        _MESH.reset(token)


def constrain(x: Array, *axes: str | None) -> Array:
    """Constrains the sharding of a traced value by the names of its axes."""
    mesh = _MESH.get()
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, of(axes, x.shape, mesh))


def of_lanes(leaf: Any, mesh: Mesh) -> NamedSharding:  # an array or its shape
    """Gives the sharding of state [K, ...], or of a scalar."""
    axes = ("lanes", *[None] * (leaf.ndim - 1)) if leaf.ndim else ()
    return of(axes, leaf.shape, mesh)


def keeps(primitive: Primitive, *_: object, **__: object) -> bool:
    """Keeps an operation's result for gradients, as a policy of `jax.checkpoint`.

    Only the results of `gathered` and `constrain` are not kept but computed again.
    """
    return primitive.name != "sharding_constraint"


def constrain_lanes(tree: Tree, mesh: Mesh | None) -> Tree:
    """Constrains all arrays of the lanes' state to the sharding of `of_lanes`."""
    if mesh is None:
        return tree
    where = jax.tree.map(lambda leaf: of_lanes(leaf, mesh), tree)
    return jax.lax.with_sharding_constraint(tree, where)


def settled(tree: Tree, mesh: Mesh | None) -> Tree:
    """Waits for the results of a program if one CPU simulates several devices.

    The devices share its threads, and one that waits for the others keeps its thread:
    with two programs at once, neither may get the threads that it needs.
    """
    if mesh is None or mesh.size == 1 or mesh.devices.flat[0].platform != "cpu":
        return tree
    return jax.block_until_ready(tree)


def filled(x: Array) -> Array:
    """Pads rows by repeating the last, so that they divide evenly among devices."""
    mesh, count = _MESH.get(), x.shape[0]
    if mesh is None or count == 1:
        return x
    parts = math.prod(mesh.shape[axis] for axis in ROWS)
    widths = [(0, -count % parts), *[(0, 0)] * (x.ndim - 1)]
    return jnp.pad(x, widths, mode="edge") if count % parts else x


def gathers() -> bool:
    """Tells whether parameters are sharded over devices that each need them whole."""
    mesh = _MESH.get()
    return mesh is not None and mesh.shape["fsdp"] > 1


def gathered(x: Array, axes: Sequence[str | None]) -> Array:
    """Gathers a parameter over all mesh axes but "tensor"."""
    mesh = _MESH.get()
    if mesh is None or not gathers():
        return x
    return jax.lax.with_sharding_constraint(x, of(axes, x.shape, mesh, ROWS))
