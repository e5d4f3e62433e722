"""Tokens, padding and waits, counted by hand."""

import numpy as np

from dtvg_jax.data.microbatches import Rows
from dtvg_jax.training.throughput import Count, Meter, count, measured


def rows(inputs: list[list[int]], targets: list[list[int]]) -> Rows:
    size = len(inputs)
    return Rows(
        np.array(inputs, np.int32),
        np.array(targets, np.int32),
        np.zeros(size, np.int32),
        np.ones(size, np.float32),
    )


def test_tokens_are_counted_without_padding():
    made = [
        rows([[5, 6, -1, -1], [7, 8, 9, 1]], [[2, 1], [1, -1]]),
        rows([[0, -1]], [[1]]),  # 0 is a token of Llama's
    ]
    assert count(made) == Count(tokens=6 + 3 + 1 + 1, positions=8 + 4 + 2 + 1)


def test_a_meter_reads_what_came_since_the_last_reading():
    now = 100.0
    meter = Meter(lambda: now)
    meter.add(Count(1_000_000, 1_000_000), 30.0)  # while the step was compiled
    assert meter.read() is None
    for _ in range(4):
        meter.add(Count(300, 400), 0.1)
    now += 8
    found = meter.read()
    assert found is not None
    np.testing.assert_allclose(found, (150.0, 0.25, 0.05), rtol=1e-12)
    assert str(found) == "150 tokens/s  25% padding  5.0% waiting"
    assert meter.read() is None  # no time, and nothing, has passed


def test_a_report_has_what_was_measured_and_so_have_curves():
    now, seen = 100.0, []
    meter = Meter(lambda: now)
    report = measured(
        meter,
        lambda step, loss, note="": seen.append((step, loss, note)),
        lambda step, points: seen.append((step, points)),
    )
    report(1, 0.5)
    meter.add(Count(300, 400), 1.0)
    now += 2
    report(11, 0.25)
    curves = {
        "throughput/tokens_per_second": 150.0,
        "throughput/padding": 0.25,
        "throughput/waiting": 0.5,
    }
    note = "150 tokens/s  25% padding  50.0% waiting"
    assert seen == [(1, 0.5, ""), (11, curves), (11, 0.25, note)]
