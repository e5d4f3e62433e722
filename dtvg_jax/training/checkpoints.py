"""Orbax checkpoints of a loop's state; the frozen backbone is never in them.

A checkpoint is a folder named by its step. `state` in it holds the arrays under the
names of their paths in the state, nested dicts of strings, so that any Orbax program
can read them; `progress` is JSON, what the loop must know besides; `digest` is of both.
"""

import dataclasses
import errno
import hashlib
import json
import logging
import pathlib
from collections.abc import Sequence
from typing import Generic, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.tree_util import KeyEntry, keystr, tree_flatten_with_path
from jaxtyping import PyTree

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import remote
from dtvg_jax.training import hosts

KEEP = 2
# What the system refuses with any other number may be there later: only by these is a
# checkpoint damaged.
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}

Tree = TypeVar("Tree")
Record = TypeVar("Record")
Named: TypeAlias = dict[str, PyTree]  # nested; leaves are arrays


def manager(folder: files.Path) -> ocp.CheckpointManager:
    """Opens the checkpoints of one program; only the newest few are kept."""
    logging.getLogger("absl").setLevel(logging.WARNING)
    options = ocp.CheckpointManagerOptions(
        cleanup_tmp_directories=True,
        preservation_policy=ocp.checkpoint_managers.LatestN(KEEP),
        # The log must not grow past the position that the checkpoint names before the
        # checkpoint is there.
        enable_async_checkpointing=False,
    )
    # Orbax takes no relative path; an address has none.
    place = folder.absolute() if isinstance(folder, pathlib.Path) else folder
    return ocp.CheckpointManager(place, options=options)


def save(
    checkpoints: ocp.CheckpointManager,
    step: int,
    state: object,
    progress: files.JsonObject,
) -> None:
    """Saves a tree of arrays, and the JSON beside it, unless the step is there."""
    # Hosts of a shared disk may see a step earlier or later.
    if hosts.agree(step in checkpoints.all_steps()):
        return
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(named(state)),
        progress=ocp.args.JsonSave(progress),
        digest=ocp.args.JsonSave({"sha256": digest(step, state, progress)}),
    )
    with files.naming(str(checkpoints.directory)):
        checkpoints.save(step, args=args)


def restore(
    checkpoints: ocp.CheckpointManager, like: Tree, record: type[Record]
) -> tuple[Tree, Record] | None:
    """Restores the newest whole state and the dataclass beside it; None where none is.

    Arrays come onto the devices of those of `like`, in its structure. A damaged
    checkpoint is said and removed, and the one before is taken. Raises InputError where
    there are checkpoints and none is whole or fits.
    """
    refused: list[tuple[int, InputError]] = []
    for step in hosts.agree(sorted(checkpoints.all_steps(), reverse=True)):
        try:
            found = _restore_step(checkpoints.directory, step, like, record)
        except InputError as error:
            refused.append((step, error))
            continue
        for newer, error in refused:
            print(f"{error}: going back to step {step}", flush=True)
            checkpoints.delete(newer)
        return found
    if refused:
        raise InputError(
            f"{refused[0][1]}: remove {checkpoints.directory}, and training starts anew"
        )
    return None


@dataclasses.dataclass(frozen=True)
class _Read(Generic[Tree, Record]):
    """A checkpoint as it is on disk: its state, the JSON beside it, its digest."""

    state: Tree
    progress: Record
    json: files.JsonObject
    digest: str


def _restore_step(
    folder: files.Path, step: int, like: Tree, record: type[Record]
) -> tuple[Tree, Record]:
    """Restores a step; raises InputError, in all processes, where it is damaged."""
    read, damage = None, "another process cannot read its part of it"
    try:
        read = _read(folder, step, like, record)
    except Exception as error:  # Orbax raises this class itself, for a damaged array
        if not _damaged(error):
            raise
        damage = str(error).partition("\n")[0]
    # Each process reads its own parts, so one may find damage where others find none.
    whole = hosts.everywhere(read is not None)
    if read is None or not whole:
        raise InputError(
            f"checkpoint {step} in {folder} does not fit this job or is damaged "
            f"({damage})"
        )
    if read.digest != digest(step, read.state, read.json):
        raise InputError(
            f"checkpoint {step} in {folder} is damaged (its content is not what was "
            "saved)"
        )
    return read.state, read.progress


def _read(
    folder: files.Path, step: int, like: Tree, record: type[Record]
) -> _Read[Tree, Record]:
    """Reads a step in this process alone, which waits for no other."""
    me = jax.process_index()
    options = ocp.CheckpointManagerOptions(
        read_only=True,
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}
        ),
    )
    target = jax.tree.map(_abstract, named(like))
    with ocp.CheckpointManager(folder, options=options) as reader:
        found = reader.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target),
                progress=ocp.args.JsonRestore(),
                digest=ocp.args.JsonRestore(),
            ),
        )
    return _Read(
        _as_in(like, found["state"]),
        files.record(record, found["progress"], "progress"),
        found["progress"],
        found["digest"]["sha256"],
    )


def _damaged(error: Exception) -> bool:
    """Tells an error due to what is on disk from one of the system, store or device."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in ABSENT
    if isinstance(error, MemoryError | jax.errors.JaxRuntimeError):
        return False
    return not remote.refused(error)


def digest(step: int, state: object, progress: files.JsonObject) -> str:
    """Hashes all of a checkpoint: its step, names, types and bytes of arrays, JSON."""
    total = hashlib.sha256(json.dumps([step, progress], sort_keys=True).encode())
    for path, leaf in tree_flatten_with_path(named(state))[0]:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = hosts.whole(leaf)
        name = keystr(path, simple=True, separator="/")
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


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
