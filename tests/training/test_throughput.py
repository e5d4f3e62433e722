"""Tokens, padding, waits and operations, counted by hand."""

import types

import jax
import numpy as np
import tiny_t5

from dtvg_jax.data.microbatches import Rows
from dtvg_jax.training import utilisation
from dtvg_jax.training.throughput import Count, Meter, count, measured
from dtvg_jax.training.utilisation import Prompted, RealRows


def rows(
    inputs: list[list[int]], targets: list[list[int]], weights: list[float]
) -> Rows:
    return Rows(
        np.array(inputs, np.int32),
        np.array(targets, np.int32),
        np.zeros(len(inputs), np.int32),
        np.array(weights, np.float32),
    )


def test_tokens_are_counted_without_padding_and_filling():
    made = [
        rows([[5, 6, -1, -1], [7, 8, 9, 1]], [[2, 1], [1, -1]], [1, 0.5]),
        rows([[0, -1], [0, -1]], [[1], [1]], [1, 0]),  # 0 is a token of Llama's
    ]
    model = Prompted(tiny_t5.CONFIG, prompt_length=5)
    real = RealRows(np.array([2, 4, 1]), np.array([2, 1, 1]), np.zeros(3, int))
    assert count(model, made) == Count(
        tokens=6 + 3 + 1 + 1,
        positions=8 + 4 + 4 + 2,
        operations=utilisation.operations(model, real),
    )
    assert count(model, []) == Count(0, 0, 0)


def test_a_meter_reads_what_came_since_the_last_reading():
    now = 100.0
    meter = Meter(clock=lambda: now)
    meter.add(Count(1_000_000, 1_000_000, 1_000_000), 30.0)  # while it was compiled
    assert meter.read() is None
    for _ in range(4):
        meter.add(Count(300, 400, 10_000), 0.1)
    now += 8
    found = meter.read()
    assert found is not None
    np.testing.assert_allclose(found[:3], (150.0, 0.25, 0.05), rtol=1e-12)
    assert str(found) == "150 tokens/s  25% padding  5.0% waiting"
    assert meter.read() is None  # no time, and nothing, has passed


def test_devices_that_say_what_they_do_are_shown():
    now = 100.0
    said = [None, {"peak_bytes_in_use": 3_000_000_000}, {"peak_bytes_in_use": 9e9}]
    devices = [types.SimpleNamespace(memory_stats=lambda s=s: s) for s in said]
    meter = Meter(25_000.0, devices, lambda: now)
    meter.read()
    meter.add(Count(300, 400, 10_000), 0.0)
    now += 2
    found = meter.read()
    assert found is not None and (found.mfu, found.memory_gb) == (0.2, 9.0)
    assert str(found).endswith("  0.0% waiting  20.0% MFU  9.0 GB/device")


def test_a_cpu_says_nothing_of_peak_and_memory():
    assert utilisation.peak(jax.devices(), "float32") is None
    assert utilisation.memory_gb(jax.devices()) is None


def test_a_report_has_what_was_measured_and_so_have_curves():
    now, seen = 100.0, []
    meter = Meter(clock=lambda: now)
    report = measured(
        meter,
        lambda step, loss, note="": seen.append((step, loss, note)),
        lambda step, points: seen.append((step, points)),
    )
    report(1, 0.5)
    meter.add(Count(300, 400, 0), 1.0)
    now += 2
    report(11, 0.25)
    curves = {
        "throughput/tokens_per_second": 150.0,
        "throughput/padding": 0.25,
        "throughput/waiting": 0.5,
    }
    note = "150 tokens/s  25% padding  50.0% waiting"
    assert seen == [(1, 0.5, ""), (11, curves), (11, 0.25, note)]
