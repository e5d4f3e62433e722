"""Orbax checkpoints of lane states; the frozen backbone is never in them."""

import logging
import pathlib
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from dtvg_jax.lanes import State

KEEP = 2


class Progress(NamedTuple):
    """What lies beside the state: where logs and validation stand at its step."""

    log_position: int  # bytes of metrics.jsonl
    validated: int  # the last validated step, -1 before the first
    seconds: float  # spent on the steps that the state stands for, in all processes


def manager(folder: pathlib.Path) -> ocp.CheckpointManager:
    """Opens the checkpoints of one program; only the newest few are kept."""
    logging.getLogger("absl").setLevel(logging.WARNING)
    options = ocp.CheckpointManagerOptions(
        cleanup_tmp_directories=True,
        preservation_policy=ocp.checkpoint_managers.LatestN(KEEP),
        enable_async_checkpointing=False,
    )
    return ocp.CheckpointManager(folder.absolute(), options=options)


def save(checkpoints: ocp.CheckpointManager, state: State, progress: Progress) -> None:
    """Saves the state of its step, unless it is there."""
    step = int(state.step)
    if step in checkpoints.all_steps():
        return
    checkpoints.save(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(_arrays(state)),
            progress=ocp.args.JsonSave(progress._asdict()),
        ),
    )


def restore(
    checkpoints: ocp.CheckpointManager, like: State
) -> tuple[State, Progress] | None:
    """Restores the newest state onto the devices of `like`; None where none is."""
    step = checkpoints.latest_step()
    if step is None:
        return None
    target = jax.tree.map(_abstract, _arrays(like))
    read: Any = checkpoints.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(target),
            progress=ocp.args.JsonRestore(),
        ),
    )
    leaves = jax.tree.structure(like)
    state = jax.tree.unflatten(leaves, read.state["leaves"])
    return state, Progress(**read.progress)


def _arrays(state: State) -> dict[str, Any]:
    # A list of leaves: optimiser states are NamedTuples of optax's own, and their
    # structure is known when the state is made anew.
    return {"leaves": jax.tree.leaves(state)}


def _abstract(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)
