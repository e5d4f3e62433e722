"""How a loop shows where it is: a live line on a terminal, plain lines in a file."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 5.0


@runtime_checkable  # tests check the types of arguments
class Report(Protocol):
    """Shows the steps that are done, the loss of the last one, and a note."""

    def __call__(self, step: int, loss: float, note: str = "") -> None: ...


@contextlib.contextmanager
def progress(
    total: int,
    label: str,
    *,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Report]:
    """Yields a `Report` on `total` steps.

    The rate counts from the first report on, so compilation is not in it; pauses for
    validation are. Redirected, a line comes at most every 5 seconds and at the end.
    """
    if console is None:
        console = Console(highlight=False)
    started = clock()
    first: tuple[int, float] | None = None
    last: tuple[int, float] | None = None

    def text(step: int, loss: float, note: str) -> str:
        assert first is not None
        seconds = clock() - first[1]
        rate = (step - first[0]) / seconds if seconds > 0 else 0.0
        parts = [f"step {step}/{total}", f"loss {loss:.4g}"]
        if rate > 0:
            parts += [rate_text(rate), f"{duration(max(total - step, 0) / rate)} left"]
        return "  ".join([*parts, note] if note else parts)

    with (
        _live(console, total, label)
        if console.is_terminal
        else _lines(console, label, clock) as show
    ):

        def report(step: int, loss: float, note: str = "") -> None:
            nonlocal first, last
            first = first or (step, clock())
            last = (step, loss)
            show(step, text(step, loss, note))

        yield report
    if last is not None:
        took = duration(clock() - started)
        step, loss = last
        console.print(
            f"{label}  step {step}/{total}  loss {loss:.4g}  took {took}",
            markup=False,
            soft_wrap=True,
        )


@contextlib.contextmanager
def _live(
    console: Console, total: int, label: str
) -> Iterator[Callable[[int, str], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}", markup=False),
    )
    # transient: the live line goes away and the one that says how it ended takes over.
    with Progress(*columns, console=console, transient=True) as live:
        task = live.add_task(label, total=total, text="compiling")
        yield lambda step, text: live.update(task, completed=step, text=text)


@contextlib.contextmanager
def _lines(
    console: Console, label: str, clock: Callable[[], float]
) -> Iterator[Callable[[int, str], None]]:
    due = float("-inf")

    def show(step: int, text: str) -> None:
        nonlocal due
        del step
        if clock() >= due:
            due = clock() + SECONDS_BETWEEN_LINES
            console.print(f"{label}  {text}", markup=False, soft_wrap=True)

    yield show


def rate_text(rate: float | int) -> str:
    """Writes steps per second, or seconds per step where that reads better."""
    return f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s/step"


def duration(seconds: float | int) -> str:
    """Writes seconds as 0:07, 12:34 or 1:02:03."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, seconds_left = divmod(rest, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds_left:02}"
    return f"{minutes}:{seconds_left:02}"
