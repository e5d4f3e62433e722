"""Standard input and output: UTF-8, and never lost silently."""

import io
import os
import sys
import warnings

from dtvg_jax import files
from dtvg_jax.errors import InputError

NAME = "standard output"
CLOSED = "standard output was closed before all was written, as `| head` does"


def prepare() -> None:
    """Makes output UTF-8 whatever the locale, and silences noise about lost output.

    Raises InputError where standard output is closed.
    """
    closed = sys.stdout is None
    # The next file to be opened would get the number of a closed stream, and output for
    # the stream would be written into that file.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    # print() would take None for standard output.
    sys.stderr = sys.stderr or open(os.devnull, "w")
    # When a write fails, threads and coroutines of TensorStore and Orbax complain once
    # more; the command reports it.
    sys.unraisablehook = lambda _: None
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    if closed:
        raise InputError("standard output is closed: send it to a file or to /dev/null")
    if sys.stdout is sys.__stdout__:
        sys.stdout = _Output(
            open(1, "wb", closefd=False),
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=os.isatty(1),
        )


def standard_input() -> io.BufferedIOBase:
    """Gives standard input as bytes; raises InputError where it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed: give --file=FILE")
    return open(0, "rb", closefd=False)


def lost_output(error: BaseException) -> str | None:
    """Gives the sentence for an error of standard output, and closes it; else None."""
    if not isinstance(error, OSError) or error.filename != NAME:
        return None
    # Python would write what is left once more at the end, and fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if isinstance(error, BrokenPipeError):
        return CLOSED
    return f"{NAME} cannot be written ({error.strerror})"


class _Output(io.TextIOWrapper):
    """Standard output, whose errors name it.

    A raw stream would not do: a signal between its write and its return would make the
    buffer write the same bytes again.
    """

    def write(self, text: str, /) -> int:
        with files.naming(NAME):
            return super().write(text)

    def flush(self) -> None:
        with files.naming(NAME):
            super().flush()
