"""A trace of some training steps by JAX's profiler, for TensorBoard or Perfetto."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator

import jax

from dtvg_jax import files
from dtvg_jax.files.copies import WorkingCopy

WARM = 20  # steps before the trace: they compile, and are the first to be logged


@contextlib.contextmanager
def traced(
    check: Callable[[], None], folder: str | os.PathLike[str], steps: int | None
) -> Iterator[Callable[[], None]]:
    """Gives a check that is called before every step and also traces `steps` of them.

    Without `steps` it is the check that was given.
    The trace begins after `WARM` steps and is in `folder` when it ends, at the latest
    with this context. A validation that falls between the steps is in it.
    """
    calls = itertools.count()

    def check_and_trace() -> None:
        at = next(calls)
        if at == WARM:
            copy = WorkingCopy(files.expand(folder))
            stack.callback(copy.close)
            stack.enter_context(jax.profiler.trace(os.fspath(copy.path)))
        if steps and at == WARM + steps:
            stack.close()
        check()

    with contextlib.ExitStack() as stack:
        yield check_and_trace if steps else check
