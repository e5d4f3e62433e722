"""What training takes at the least: operations of all steps, and their time."""

import types

import fake_table
import numpy as np
import pytest
from tiny_t5 import CONFIG

from dtvg_jax.data.microbatches import Stream
from dtvg_jax.data.tokenise import TextRow
from dtvg_jax.jobs import costs, plan
from dtvg_jax.training import utilisation
from dtvg_jax.training.runs import Lane
from dtvg_jax.training.utilisation import Prompted, RealRows


def test_lanes_count_until_they_end(tmp_path):
    rows = [TextRow("abcd", "1", "1")] * 7  # 5 and 2 tokens, with the end
    stream = Stream(fake_table.make(tmp_path / "table", rows), 0)
    lanes = [Lane(plan.stage1_run("toy", 0), steps, 0, {}) for steps in (10, 6)]
    model = Prompted(CONFIG, prompt_length=3)
    found = costs.operations(model, [stream, stream], lanes, batch_size=3)
    of_one = RealRows(np.array([5]), np.array([2]), np.array([0]))
    assert found == (10 + 6) * 3 * utilisation.operations(model, of_one)


@pytest.mark.parametrize(
    ("kind", "total", "said"),
    [
        ("TPU v5 lite", 2 * 197e12 * 7200, "at least 2.0 h at the peak of these dev"),
        ("cpu", 8 * 197e12 * 30, "at least 30 s at the peak of a TPU v5e of 8 chips"),
    ],
)
def test_the_least_time_is_said_of_known_devices(kind, total, said):
    devices = [types.SimpleNamespace(device_kind=kind)] * 2
    assert said in costs.describe(total, devices, "bfloat16")
