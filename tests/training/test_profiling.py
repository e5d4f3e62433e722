"""When a trace begins and ends; the trace itself is JAX's."""

import contextlib
import pathlib

import jax
import pytest

from dtvg_jax.training import profiling


@pytest.fixture
def events(monkeypatch) -> list[str]:
    seen: list[str] = []

    @contextlib.contextmanager
    def trace(folder: str):
        seen.append(f"begins in {pathlib.Path(folder).name}")
        try:
            yield
        finally:
            seen.append("ends")

    monkeypatch.setattr(jax.profiler, "trace", trace)
    monkeypatch.setattr(profiling, "WARM", 2)
    return seen


def train(steps: int, events: list[str], stop_at: int | None = None) -> None:
    def check() -> None:
        if len([e for e in events if e == "step"]) == stop_at:
            raise KeyboardInterrupt

    with profiling.traced(check, "profile", 3) as checked:
        for _ in range(steps):
            checked()
            events.append("step")


@pytest.mark.parametrize("steps, traced", [(10, 3), (5, 3), (4, 2), (3, 1)])
def test_steps_after_the_first_are_traced(events, steps, traced):
    train(steps, events)
    rest = ["step"] * (steps - 2 - traced)
    expected = ["step"] * 2 + ["begins in profile"] + ["step"] * traced + ["ends"]
    assert events == expected + rest


def test_without_steps_nothing_is_added(events):
    check = events.clear
    with profiling.traced(check, "profile", None) as checked:
        assert checked is check


def test_a_short_program_has_no_trace(events):
    train(2, events)
    assert events == ["step", "step"]


def test_a_job_that_is_stopped_has_its_trace(events):
    with pytest.raises(KeyboardInterrupt):
        train(10, events, stop_at=4)
    assert events[-3:] == ["step", "step", "ends"]


def test_the_trace_is_one_that_tools_read(tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "WARM", 0)
    with profiling.traced(lambda: None, tmp_path / "profile", 2) as checked:
        for _ in range(3):
            checked()
            jax.block_until_ready(jax.numpy.ones(3) + 1)
    assert len(list((tmp_path / "profile").rglob("*.xplane.pb"))) == 1
