"""Orbax checkpoints of a loop's state; the frozen backbone is never in them.

A checkpoint is a folder named by its step. `state` in it holds the arrays under the
names of their paths in the state, nested dicts of strings, so that any Orbax program
can read them; `progress` is JSON, what the loop must know besides.
"""

import logging
import pathlib
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.tree_util import KeyEntry, keystr, tree_flatten_with_path
from jaxtyping import PyTree

from dtvg_jax import files
from dtvg_jax.errors import InputError

KEEP = 2

Tree = TypeVar("Tree")
Record = TypeVar("Record")
Named: TypeAlias = dict[str, PyTree]  # nested; leaves are arrays


def manager(folder: pathlib.Path) -> ocp.CheckpointManager:
    """Opens the checkpoints of one program; only the newest few are kept."""
    logging.getLogger("absl").setLevel(logging.WARNING)
    options = ocp.CheckpointManagerOptions(
        cleanup_tmp_directories=True,
        preservation_policy=ocp.checkpoint_managers.LatestN(KEEP),
        # The log must not grow past the position that the checkpoint names before the
        # checkpoint is there.
        enable_async_checkpointing=False,
    )
    return ocp.CheckpointManager(folder.absolute(), options=options)


def save(
    checkpoints: ocp.CheckpointManager,
    step: int,
    state: object,
    progress: files.JsonObject,
) -> None:
    """Saves a tree of arrays, and the JSON beside it, unless the step is there."""
    if step in checkpoints.all_steps():
        return
    checkpoints.save(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(named(state)),
            progress=ocp.args.JsonSave(progress),
        ),
    )


def restore(
    checkpoints: ocp.CheckpointManager, like: Tree, record: type[Record]
) -> tuple[Tree, Record] | None:
    """Restores the newest state and the dataclass beside it; None where none is.

    Arrays come onto the devices of those of `like`, in its structure. Raises
    InputError for a checkpoint of other names or shapes, and for a damaged one.
    """
    step = checkpoints.latest_step()
    if step is None:
        return None
    target = jax.tree.map(_abstract, named(like))
    try:
        read = checkpoints.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target),
                progress=ocp.args.JsonRestore(),
            ),
        )
        progress = files.record(record, read["progress"], "progress")
        state = _as_in(like, read["state"])
    except (ValueError, TypeError, KeyError, OSError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(
            f"checkpoint {step} in {checkpoints.directory} does not fit this job or is "
            f"damaged ({first}): remove that folder, and training starts from the one "
            "before or anew"
        ) from error
    return state, progress


def named(tree: object) -> Named:
    """Puts the leaves of a tree under their paths: nested dicts, keys all strings.

    A named tuple gives its fields' names, a tuple or list the positions.
    """
    made: Named = {}
    for path, leaf in tree_flatten_with_path(tree)[0]:
        *folders, name = _names(path)
        inner = made
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[name] = leaf
    return made


def _as_in(like: Tree, found: Named) -> Tree:
    """Takes the leaves of `like` by their paths out of nested dicts."""
    leaves = []
    for path, _ in tree_flatten_with_path(like)[0]:
        inner: PyTree = found
        for name in _names(path):
            inner = inner[name]
        leaves.append(inner)
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _names(path: Sequence[KeyEntry]) -> list[str]:
    return [keystr((key,), simple=True) for key in path]


def _abstract(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)
