"""--distributed: several processes that work together, on one host or many.

JAX finds the others on a TPU slice and under Slurm, Kubernetes or Open MPI; elsewhere
flags say where they meet. When the heartbeat of a process stops, JAX aborts the others:
here they explain why, and end with the exit code of other system errors.
"""

import ctypes
import os
import re
import signal
import sys
from collections.abc import Iterator

from absl import flags

from dtvg_jax.errors import InputError

HEARTBEAT = 30  # seconds without one after which a process counts as dead
MEETING = 300  # seconds that processes wait for the last one to start
LEAVING = 30  # seconds that processes wait for the last one to end
LOST = (
    "another process of this job has ended or cannot be reached any more: see what it "
    "said, and run the same command again in all processes; a job resumes"
)
ENDED = 2  # the exit code of what the user can put right
BUG = 1
_ADDRESS = ("coordinator_address", "num_processes", "process_id")
# Words in the messages of gloo, NCCL, barriers and the coordination service about a
# lost process, and codes that say so where they are JAX's own.
_LOSS = re.compile(r"gloo|nccl|barrier|coordination|heartbeat", re.I)
_CODES = re.compile("UNAVAILABLE|DEADLINE_EXCEEDED")


def define_flags(known: flags.FlagValues) -> None:
    """Adds the flags to those of a command."""
    flags.DEFINE_bool(
        "distributed",
        False,
        "Work together with the processes of the other hosts, which are given the same "
        "command; TPU slices, Slurm and Kubernetes are recognised.",
        flag_values=known,
    )
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "Where the processes meet, elsewhere: host and free port of process 0, such as "
        "10.0.0.1:1234.",
        flag_values=known,
    )
    flags.DEFINE_integer(
        "num_processes", None, "How many there are.", 1, flag_values=known
    )
    flags.DEFINE_integer(
        "process_id",
        None,
        "The number of this one, from 0 on; process 0 alone writes files.",
        0,
        flag_values=known,
    )


def start(known: flags.FlagValues) -> None:
    """Connects this process with the others, if the flags ask for it.

    Only process 0 keeps its standard output. Raises InputError if the others are not
    found.
    """
    values = known.flag_values_dict()
    given = {name: values[name] for name in _ADDRESS}
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if not missing:
        _check_address(**given)
    elif len(missing) < len(given):
        raise InputError(
            f"{' and '.join(missing)} must be given too: how many processes there are, "
            "where they meet, and which one this is"
        )
    elif not values["distributed"]:
        return
    import jax

    _explain_aborts()
    # Programs that run at once would meet their collectives in different orders.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=MEETING,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=LEAVING,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"the processes of this job do not meet ({reason}): start all of them "
            f"within {MEETING} seconds; where JAX does not find them by itself, give "
            "--coordinator_address, --num_processes and --process_id"
        ) from None
    if jax.process_index() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (as long as the process)


def _check_address(
    coordinator_address: str, num_processes: int, process_id: int
) -> None:
    if not re.fullmatch(r".+:\d+", coordinator_address):
        raise InputError(
            f"--coordinator_address={coordinator_address} must be a host and a port, "
            "such as 10.0.0.1:1234"
        )
    if process_id >= num_processes:
        raise InputError(
            f"--process_id={process_id} must be less than "
            f"--num_processes={num_processes}"
        )


def sentence(error: BaseException) -> str | None:
    """Gives the sentence for an error due to a lost process; None for other errors."""
    if not started():
        return None
    import jax

    for one in _with_causes(error):
        # gloo's errors are ValueErrors, and so are TensorStore's.
        of_jax = isinstance(one, jax.errors.JaxRuntimeError)
        if of_jax and _CODES.search(str(one)):
            return LOST
        if of_jax or (isinstance(one, ValueError) and not isinstance(one, InputError)):
            if _LOSS.search(str(one)):
                return LOST
    return None


def leave(code: int) -> None:
    """Ends a failed process at once, since the others would wait for its shutdown."""
    if code in (ENDED, BUG) and started():
        sys.stdout.flush()
        os._exit(code)


def started() -> bool:
    """Tells whether this process has met the others of its job."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain_aborts() -> None:
    """Ends with a sentence when JAX's C++ aborts the process.

    It does so when another process is lost, on a thread of its own and after messages
    on standard error. Python's own signal handlers would never run.
    """
    ctypes.CDLL(None).signal(signal.SIGABRT, _aborted)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(_: int) -> None:
    print(f"error: {LOST}", file=sys.stderr, flush=True)
    os._exit(ENDED)
