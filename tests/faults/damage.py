"""Damages files one at a time, and tells what becomes of it."""

import collections
import contextlib
import enum
import pathlib
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from dtvg_jax.errors import InputError

SECONDS = 60.0  # after which a trial hangs


class Damage(enum.StrEnum):
    """What is done to a file, or to the process that writes it."""

    FLIP = "bit flipped"
    CUT = "cut off"
    EMPTY = "empty"
    GONE = "gone"
    SWAPPED = "swapped"
    FULL = "no room"
    KILLED = "killed"


class Outcome(enum.StrEnum):
    """What a program makes of a damaged file."""

    NOTICED = "noticed"  # one sentence
    HARMLESS = "harmless"  # the result of the whole file
    SILENT = "silent"  # another result
    TRACEBACK = "traceback"
    HANG = "hang"
    ABORT = "abort"  # ended by a signal


GOOD = (Outcome.NOTICED, Outcome.HARMLESS)


class Trial(NamedTuple):
    """A damaged file, and what became of it."""

    damage: Damage
    outcome: Outcome
    what: str  # for the message of a test that fails


def damaged(
    content: bytes, other: bytes | None, flips: int, draw: random.Random
) -> Iterator[tuple[Damage, bytes | None]]:
    """Gives a file's content with every damage; None where the file is gone."""
    for _ in range(flips):
        at = draw.randrange(len(content))
        bit = content[at] ^ 1 << draw.randrange(8)
        yield Damage.FLIP, content[:at] + bytes([bit]) + content[at + 1 :]
    for _ in range(max(1, flips // 4)):
        yield Damage.CUT, content[: draw.randrange(1, len(content))]
    yield Damage.EMPTY, b""
    yield Damage.GONE, None
    if other is not None:
        yield Damage.SWAPPED, other


def trials(
    file: pathlib.Path,
    act: Callable[[], object],
    flips: int,
    other: pathlib.Path | None = None,
    extent: int | None = None,
) -> list[Trial]:
    """Reads a file whole, and once after each damage; puts it back at the end.

    `act` is what reads it, and returns all that was read. `other` is a file of its
    kind; of the first `extent` bytes, bits are flipped.
    """
    clean, content = act(), file.read_bytes()
    swapped = None if other is None else other.read_bytes()
    found, draw = [], random.Random(file.name)
    head, tail = content[:extent], content[len(content[:extent]) :]
    try:
        for damage, changed in damaged(head, swapped, flips, draw):
            if changed is None:
                file.unlink()
            else:
                keeps_tail = damage is Damage.FLIP
                file.write_bytes(changed + tail if keeps_tail else changed)
            outcome, what = outcome_of(act, clean)
            found.append(Trial(damage, outcome, f"{file.name} {damage}: {what}"))
    finally:
        file.write_bytes(content)
    return found


def outcome_of(act: Callable[[], object], clean: object) -> tuple[Outcome, str]:
    """Runs what reads a file, and compares its result with that of the whole file."""
    try:
        with limited(SECONDS):
            result = act()
    except InputError as error:
        # A sentence for the user is one line.
        good = "\n" not in str(error)
        return (Outcome.NOTICED if good else Outcome.TRACEBACK), str(error)
    except TimeoutError:
        return Outcome.HANG, "no end"
    except Exception as error:
        return Outcome.TRACEBACK, repr(error)
    same = equal(result, clean)
    return (Outcome.HARMLESS if same else Outcome.SILENT), f"{result!r:.300}"


def equal(one: object, other: object) -> bool:
    """Compares two results in full, arrays bit by bit."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and equal([*one.values()], [*other.values()])
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(equal(a, b) for a, b in pairs)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        alike = (one.shape, one.dtype) == (other.shape, other.dtype)
        return alike and one.tobytes() == other.tobytes()
    return type(one) is type(other) and one == other


def counted(found: list[Trial]) -> list[tuple[str, str, int]]:
    """Counts trials by damage and outcome."""
    counts = collections.Counter((t.damage, t.outcome) for t in found)
    return [(str(damage), str(end), n) for (damage, end), n in counts.items()]


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in a block that does not end."""

    def end(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
