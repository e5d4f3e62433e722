"""Several processes that work on one job: what they share, who writes, when they stop.

All run the same program with the same settings, which `check_alike` sees to, and each
has some of the devices. What they compute is the same in all of them, so only what
comes from outside has to be agreed on: files that are there, memory, signals. Process 0
alone writes into the job's folder, which all see, but for the arrays of checkpoints, of
which each process writes its own parts. In a single process, which JAX was not told of
others, all of this does nothing.
"""

import functools
import itertools
import json
import os
import signal
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Sharding
from jaxtyping import Array, PyTree
from orbax.checkpoint import multihost

from dtvg_jax import files
from dtvg_jax.errors import InputError, Stopped
from dtvg_jax.files import JsonObject
from dtvg_jax.files.differences import differences

# One process may tokenise while others wait. One that ends is noticed long before, by
# its heartbeat.
TIMEOUT = 6 * 3600  # seconds

Check = Callable[[], None]
Given = ParamSpec("Given")
Tree = TypeVar("Tree")
Value = TypeVar("Value")


def alone() -> bool:
    """Tells whether this process is the only one of its job."""
    return not jax.distributed.is_initialized()


def first() -> bool:
    """Tells whether this process is the one that writes."""
    return alone() or jax.process_index() == 0


def check_all_have_met() -> None:
    """Raises InputError on a TPU slice of several hosts whose processes have not met.

    JAX sees all their chips even then.
    """
    if alone() and jax.process_count() > 1:
        raise InputError(
            f"the devices here are of {jax.process_count()} hosts: give --distributed "
            "to `train` or `evaluate` on each of them, and run others on one host"
        )


def barrier(name: str) -> None:
    """Waits until all processes are here."""
    if not alone():
        wait = multihost.get_barrier_sync_fn()
        wait(key=f"{name}-{next(_barriers)}", timeout_ms=1000 * TIMEOUT)


_barriers = itertools.count()


def agree(value: Value) -> Value:
    """Gives every process the value of process 0, which JSON must be able to hold."""
    if alone():
        return value
    # Collectives of CPUs and GPUs do not wait long for a process that comes late.
    barrier("agree")
    content = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    # Sizes are powers of two, since each is a program to compile.
    padded = np.zeros(1 << (size - 1).bit_length(), np.uint8)
    if first():
        padded[:size] = content
    agreed = np.asarray(multihost_utils.broadcast_one_to_all(padded))
    return json.loads(agreed[:size].tobytes())


def everywhere(holds: bool) -> bool:
    """Tells whether something holds in all processes."""
    if alone():
        return holds
    barrier("everywhere")
    return bool(np.all(multihost_utils.process_allgather(np.bool_(holds))))


def check_alike(mine: JsonObject) -> None:
    """Raises InputError in every process unless all have the same facts.

    A process whose facts differ from those of process 0 names them.
    """
    if alone():
        return
    plain = json.loads(files.json_bytes(mine))
    differing = differences(agree(plain), plain)
    if everywhere(not differing):
        return
    if not differing:
        raise InputError(
            "another process of this job has other settings, data or versions than "
            "process 0: see what it says, and give all of them the same"
        )
    named = "; ".join(
        f"{one.name} is {one.now}, in process 0 {one.was}" for one in differing
    )
    raise InputError(
        f"process {jax.process_index()} differs from process 0 ({named}): give all "
        "processes of a job the same settings, backbone, data and versions"
    )


def written_once(write: Callable[Given, None]) -> Callable[Given, None]:
    """Lets process 0 alone run a function that writes; the others wait for it."""

    @functools.wraps(write)
    def once(*args: Given.args, **kwargs: Given.kwargs) -> None:
        if first():
            write(*args, **kwargs)
        barrier(write.__qualname__)

    return once


def together(check: Check) -> Check:
    """Makes a check by which all processes stop at the same call, or none.

    All must call it equally often. JAX takes SIGTERM of any process, and what `check`
    raises Stopped for, as a notice to all of them.
    """
    if alone():
        return check
    calls = itertools.count()

    def both() -> None:
        try:
            check()
        except Stopped:
            os.kill(os.getpid(), signal.SIGTERM)  # JAX's handler passes it on
        if multihost_utils.reached_preemption_sync_point(next(calls)):
            raise Stopped(signal.SIGTERM)

    return both


def put(tree: Tree, where: PyTree[Sharding]) -> Tree:
    """Puts arrays, which are the same in all processes, where shardings say.

    Each process puts only what its own devices hold. `jax.device_put` would compare the
    whole of every array between the processes first: a collective, for which they must
    not wait on the thread that makes batches. And it refuses random keys.
    """
    if alone():
        return jax.device_put(tree, where)
    return jax.tree.map(_put, tree, jax.tree.broadcast(where, tree))


def _put(array: Any, where: Sharding) -> Array:  # of NumPy, or of JAX on any devices
    if isinstance(array, jax.Array):
        if not array.is_fully_addressable:
            return jax.device_put(array, where)
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            implementation = jax.random.key_impl(array)
            data = _put(jax.random.key_data(array), where)
            return jax.random.wrap_key_data(data, impl=implementation)
    here = np.asarray(array)
    return jax.make_array_from_callback(here.shape, where, lambda part: here[part])


def whole(tree: PyTree) -> PyTree[np.ndarray]:
    """Fetches arrays that may be spread over the devices of all processes."""
    return jax.device_get(tree) if alone() else jax.tree.map(_whole, tree)


def _whole(array: Any) -> np.ndarray:
    if isinstance(array, jax.Array) and not array.is_fully_replicated:
        return multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)
