"""How a command ends: its exit code, and the one sentence of what was in the way."""

import errno
import os
import subprocess
import sys

import pytest
from absl import flags
from jax.errors import JaxRuntimeError

from dtvg_jax.cli import command, standard_streams
from dtvg_jax.errors import InputError, Stopped

RESUMES = ", and run the same command again: it resumes"
TMP = "4.orbax-checkpoint-tmp/state.orbax-checkpoint-tmp/ocdbt.process_0"
# As TensorStore said it on a full disk; Orbax lets it through.
TENSORSTORE = ValueError(
    'RESOURCE_EXHAUSTED: Error writing "best.score/0" in OCDBT database at local file '
    f'"/j/checkpoints/stage1/{TMP}/": Failed writing: "/j/checkpoints/stage1/{TMP}/d/ef'
    '9c": Failed to write 5051 bytes to file 69: No space left on device '
    "[os_error_code='28']"
)
TOO_LARGE = ValueError(
    f'OUT_OF_RANGE: Error writing "alive/0" at local file "/j/checkpoints/stage1/{TMP}/'
    "d/0d\": Failed to write 49196 bytes: File too large [os_error_code='27']"
)
SAFETENSORS = Exception("I/O error: No space left on device (os error 28)")
TENSORFLOW = RuntimeError("/c/miniature/x.tfrecord; No space left on device")


def system(code: int, path: str | None = None) -> OSError:
    return OSError(code, os.strerror(code), path)


def chained() -> Exception:
    error = RuntimeError("the save has failed")
    error.__cause__ = system(errno.ENOSPC, "/j/x")
    return error


FULL = "the disk is full: free some space"
SAID = [
    (InputError("a is b"), 2, "error: a is b"),
    (system(errno.ENOSPC, "/j/x"), 2, f"error: /j/x: {FULL}{RESUMES}"),
    (system(errno.ENOSPC), 2, f"error: {FULL}{RESUMES}"),
    (TENSORSTORE, 2, f"error: /j/checkpoints/stage1: {FULL}{RESUMES}"),
    (SAFETENSORS, 2, f"error: {FULL}{RESUMES}"),
    (TENSORFLOW, 2, f"error: {FULL}{RESUMES}"),
    (
        JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
        2,
        "error: a device is out of memory (RESOURCE_EXHAUSTED: Out of memory while "
        "trying to allocate): give a mesh with more fsdp (placement.Mesh) or a smaller "
        "evaluation_batch_size; for a new job also stages.Stage.remat = True or "
        "smaller batches",
    ),
    (
        RuntimeError("Unable to initialize backend 'tpu': UNAVAILABLE: in use"),
        2,
        "error: the accelerator cannot be used (Unable to initialize backend 'tpu': "
        "UNAVAILABLE: in use): end the process that holds it, or set JAX_PLATFORMS=cpu",
    ),
    (chained(), 2, f"error: /j/x: {FULL}{RESUMES}"),
    (
        TOO_LARGE,
        2,
        "error: /j/checkpoints/stage1: the file would be larger than is allowed: raise "
        f"the limit `ulimit -f`{RESUMES}",
    ),
    (
        system(errno.EDQUOT, "x"),
        2,
        f"error: x: your share of the disk is used up: free some space{RESUMES}",
    ),
    (
        system(errno.EMFILE, "x"),
        2,
        "error: x: too many files are open: raise the limit, as `ulimit -n 4096` does"
        f"{RESUMES}",
    ),
    (
        system(errno.EROFS, "x"),
        2,
        "error: x: the disk is read-only: make it writable or give another folder"
        f"{RESUMES}",
    ),
    (
        system(errno.EACCES, "x"),
        2,
        "error: x: permission is denied: get access to it or give another file or "
        f"folder{RESUMES}",
    ),
    (
        system(errno.ENOENT, "x"),
        2,
        "error: x: it is not there, or not any more: restore it or give another path",
    ),
    (
        system(errno.EIO, "x"),
        2,
        f"error: x: the disk cannot be read or written: check the disk{RESUMES}",
    ),
    (system(errno.ELOOP, "x"), 2, "error: x: Too many levels of symbolic links"),
    (Stopped(15), 143, "stopped: run the same command again to resume"),
    (
        SystemExit(1),  # rich, where a pipe is closed
        2,
        "error: standard output was closed before all was written, as `| head` does",
    ),
]


def failing(error: BaseException, resumes: bool = True) -> command.Command:
    def main(words, received):
        raise error

    return command.Command("", flags.FlagValues(), main, resumes=resumes)


def ended(of: command.Command, *given: str) -> object:
    with pytest.raises(SystemExit) as end:
        command.run(of, ["command", *given])
    return end.value.code


@pytest.mark.parametrize("error, code, said", SAID, ids=[said for *_, said in SAID])
def test_an_error_is_one_sentence(capsys, error, code, said):
    assert ended(failing(error)) == code
    assert capsys.readouterr() == ("", f"{said}\n")


def test_only_what_resumes_is_said_to(capsys):
    ended(failing(system(errno.ENOSPC, "x"), resumes=False))
    assert capsys.readouterr().err == f"error: x: {FULL}\n"
    ended(failing(Stopped(15), resumes=False))
    assert capsys.readouterr().err == "stopped: run the same command again\n"


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError("of a library")])
def test_a_fault_of_the_program_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        command.run(failing(error), ["command"])


PRINTS = """
import sys
from absl import flags
from dtvg_jax.cli import command
def main(words, received):
    for _ in range(100_000):
        print("naïve")
command.run(command.Command("", flags.FlagValues(), main), ["command"])
"""
SHELL = {
    "> /dev/full": "standard output cannot be written (No space left on device)",
    ">&-": "standard output is closed: send it to a file or to /dev/null",
    "| head -n 1 > /dev/null": standard_streams.CLOSED,
}


@pytest.mark.parametrize("where", SHELL)
def test_output_is_not_lost_in_silence(tmp_path, where):
    line = f'set -o pipefail; "$0" -c "$1" {where}'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable, PRINTS], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {SHELL[where]}\n"


def test_a_closed_input_is_said():
    done = subprocess.run(
        ["bash", "-c", '"$0" -m dtvg_jax.predict <&-', sys.executable],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: standard input is closed: give --file=FILE\n"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_output_is_utf8_whatever_the_locale(encoding):
    done = subprocess.run(
        [sys.executable, "-c", PRINTS],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0 and done.stdout.startswith("naïve\n".encode())


def test_what_is_for_standard_error_does_not_come_among_the_answers():
    """Not even where standard error is closed."""
    program = PRINTS.replace("for _ in range(100_000):", "if True:").replace(
        'print("naïve")', 'print("answer"); print("note", file=sys.stderr)'
    )
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" 2>&-', sys.executable, program],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "answer\n")
