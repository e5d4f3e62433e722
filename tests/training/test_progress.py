"""Progress: lines that a file can hold, a live line that a terminal shows."""

import io

import pytest
from rich.console import Console

from dtvg_jax.training.progress import duration, progress, rate_text


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def redirected():
    return Console(file=io.StringIO(), force_terminal=False, highlight=False, width=80)


def test_redirected_lines_come_every_five_seconds_and_at_the_end():
    console, clock = redirected(), Clock()
    with progress(100, "stage1", console=console, clock=clock) as report:
        clock.now += 10  # compilation is not in the rate
        for step in range(1, 31):
            report(step, 1 / step)
            clock.now += 0.5
    assert console.file.getvalue().splitlines() == [
        "stage1  step 1/100  loss 1",
        "stage1  step 11/100  loss 0.09091  2.0 steps/s  0:44 left",
        "stage1  step 21/100  loss 0.04762  2.0 steps/s  0:40 left",
        "stage1  step 30/100  loss 0.03333  took 0:25",
    ]


def test_a_note_comes_last():
    console, clock = redirected(), Clock()
    with progress(100, "stage1", console=console, clock=clock) as report:
        report(1, 0.5, "150 tokens/s")
    first, _ = console.file.getvalue().splitlines()
    assert first == "stage1  step 1/100  loss 0.5  150 tokens/s"


def test_a_resumed_loop_counts_its_own_steps_only():
    console, clock = redirected(), Clock()
    with progress(1000, "stage2", console=console, clock=clock) as report:
        report(900, 0.5)
        clock.now += 10
        report(910, 0.5)
    assert "step 910/1000  loss 0.5  1.0 steps/s  1:30 left" in console.file.getvalue()


def test_a_terminal_gets_one_live_line_and_the_end():
    console = Console(
        file=io.StringIO(), force_terminal=True, width=100, color_system=None
    )
    with progress(10, "stage2-dtvg", console=console) as report:
        for step in range(1, 11):
            report(step, 0.25)
    shown = console.file.getvalue()
    assert "step 10/10  loss 0.25" in shown
    assert "stage2-dtvg  step 10/10  loss 0.25  took 0:00" in shown


def test_a_loop_without_steps_says_nothing():
    console = redirected()
    with progress(10, "stage1", console=console):
        pass
    assert console.file.getvalue() == ""


def test_an_error_passes_through():
    with pytest.raises(KeyboardInterrupt):
        with progress(10, "stage1", console=redirected()) as report:
            report(1, 0.5)
            raise KeyboardInterrupt


def test_a_lane_that_failed_is_shown_as_nan():
    console = redirected()
    with progress(10, "[stage1]", console=console) as report:
        report(1, float("nan"))
    assert console.file.getvalue().startswith("[stage1]  step 1/10  loss nan")


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "rate, text", [(12.34, "12.3 steps/s"), (1, "1.0 steps/s"), (0.25, "4.0 s/step")]
)
def test_rates(rate, text):
    assert rate_text(rate) == text
