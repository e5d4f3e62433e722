"""What is said of flags for several processes, and of one that is lost."""

import subprocess
import sys

import jax
import pytest

from dtvg_jax.cli import command, processes
from dtvg_jax.cli.commands import train
from dtvg_jax.errors import InputError

ADDRESS = "--coordinator_address=10.0.0.1:1234"


@pytest.mark.parametrize(
    "given, said",
    [
        ([ADDRESS], "--num_processes and --process_id must be given too: "),
        (
            ["--distributed", "--process_id=0"],
            "--coordinator_address and --num_processes must be given too: ",
        ),
        (
            ["--coordinator_address=10.0.0.1", "--num_processes=2", "--process_id=0"],
            "--coordinator_address=10.0.0.1 must be a host and a port, such as ",
        ),
        (
            [ADDRESS, "--num_processes=2", "--process_id=2"],
            "--process_id=2 must be less than --num_processes=2",
        ),
    ],
)
def test_flags_that_say_too_little_are_refused(given, said):
    command.parse(train.COMMAND, ["train", *given])
    with pytest.raises(InputError) as raised:
        processes.start(train.FLAGS)
    assert str(raised.value).startswith(said)


def test_without_flags_there_is_nothing_to_start():
    command.parse(train.COMMAND, ["train"])
    processes.start(train.FLAGS)
    assert not jax.distributed.is_initialized()


GLOO = ValueError("UNKNOWN: Gloo all-reduce failed: ... Connection reset by peer")
CASES = {
    "gloo": (GLOO, processes.LOST),
    "a barrier": (
        jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out. Id: x"),
        processes.LOST,
    ),
    "a coordinator": (
        jax.errors.JaxRuntimeError("UNAVAILABLE: failed to connect"),
        processes.LOST,
    ),
    "a store": (ValueError("UNAVAILABLE: gs://bucket/x: 503"), None),
    "memory": (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), None),
    "a fault": (ValueError("row 3 has 9 ids and does not fit into 8"), None),
}


@pytest.mark.parametrize("error, said", CASES.values(), ids=CASES)
def test_a_lost_process_is_said_where_there_are_several(error, said, monkeypatch):
    assert processes.sentence(error) is None
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    assert processes.sentence(error) == said
    wrapped = RuntimeError("while a checkpoint was saved")
    wrapped.__cause__ = error
    assert processes.sentence(wrapped) == said


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of Python in a process of its own."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_fault_of_one_process_ends_it_with_its_traceback():
    """At once: JAX would wait for the others, and then call them lost."""
    program = (
        "import atexit, jax\n"
        "from dtvg_jax.cli import command\n"
        "from dtvg_jax.cli.commands import report\n"
        "jax.distributed.is_initialized = lambda: True\n"
        "atexit.register(lambda: print('waited'))\n"
        "def main(words, received): raise KeyError('a fault')\n"
        "command.run(report.COMMAND._replace(main=main), ['report', '--job_dir=x'])\n"
    )
    done = run(program)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("KeyError: 'a fault'\n")


def test_an_abort_in_a_library_ends_with_a_sentence():
    program = (
        "import os, threading\n"
        "from dtvg_jax.cli import processes\n"
        "processes._explain_aborts()\n"
        "threading.Thread(target=os.abort).start()\n"
        "while True: pass\n"
    )
    done = run(program)
    assert (done.returncode, done.stderr) == (2, f"error: {processes.LOST}\n")
