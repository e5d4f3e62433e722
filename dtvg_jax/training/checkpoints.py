"""Orbax checkpoints of lane states; the frozen backbone is never in them."""

import logging
import pathlib
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from dtvg_jax.errors import InputError
from dtvg_jax.training.lanes import State

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
    """Restores the newest state onto the devices of `like`; None where none is.

    Raises InputError for one of other shapes, and for a damaged one.
    """
    step = checkpoints.latest_step()
    if step is None:
        return None
    target = jax.tree.map(_abstract, _arrays(like))
    try:
        read: Any = checkpoints.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target),
                progress=ocp.args.JsonRestore(),
            ),
        )
        at = Progress(**read.progress)
    except (ValueError, TypeError, KeyError, OSError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(
            f"checkpoint {step} in {checkpoints.directory} does not fit this job or is "
            f"damaged ({first}): remove that folder, and training starts from the one "
            "before or anew"
        ) from error
    state = jax.tree.unflatten(jax.tree.structure(like), read.state["leaves"])
    return state, at


def _arrays(state: State) -> dict[str, Any]:
    # A list of leaves: optimiser states are NamedTuples of optax's own, and their
    # structure is known when the state is made anew.
    return {"leaves": jax.tree.leaves(state)}


def _abstract(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)
