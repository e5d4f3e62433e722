"""Standard input and output: UTF-8, and never lost in silence."""

import io
import os
import sys
import threading
from types import TracebackType
from typing import BinaryIO

from dtvg_jax.errors import InputError

CLOSED = "standard output was closed before all was written, as `| head` does"


def prepare() -> None:
    """Makes output UTF-8 whatever the locale, and keeps foreign noise out of errors.

    Raises InputError where standard output is closed.
    """
    closed = sys.stdout is None
    # The next file that is opened would take the number of a stream that is closed,
    # and what is meant for the stream would be written into the file.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # print() would take None for stdout
    sys.excepthook = _without_foreign_threads
    if closed:
        raise InputError("standard output is closed: send it to a file or to /dev/null")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def standard_input() -> BinaryIO:
    """Gives standard input as bytes; raises InputError where it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed: give --file=FILE")
    return sys.stdin.buffer


def lost_output() -> str | None:
    """Says why standard output cannot be written, and lets it go; None where it can."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would flush once more at the end, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return CLOSED
        return f"standard output cannot be written ({error.strerror})"
    return None


def _without_foreign_threads(
    kind: type[BaseException], error: BaseException, at: TracebackType | None
) -> None:
    # TensorStore's threads print that the event loop was closed when a write failed;
    # Python's own threads have another hook.
    if threading.current_thread() is threading.main_thread():
        sys.__excepthook__(kind, error, at)
