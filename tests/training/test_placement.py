"""A step with its rows spread over two devices against one device."""

import jax
import numpy as np
import pytest
import test_lanes

from dtvg_jax.errors import InputError
from dtvg_jax.methods import METHODS
from dtvg_jax.training import lanes, optimisers, placement


def train(devices: int) -> np.ndarray:
    place = placement.make(jax.devices()[:devices])
    optimiser, method = optimisers.by_name("adamw_stage2"), METHODS["dtvg"]
    fixed = test_lanes.fixed()
    state = lanes.init(method, optimiser, fixed.context)
    backbone = test_lanes.backbone()
    state, params, fixed = jax.device_put((state, backbone.params, fixed), place.lanes)
    step = test_lanes.step_of("dtvg")
    for number in range(10):
        rows = jax.device_put(test_lanes.batch(number, count=2), place.rows)
        state, _ = step(state, params, fixed, rows)
    assert state.trainables["prompt"].sharding.is_fully_replicated
    return np.asarray(lanes.current(method, state, fixed)[0].arrays)


def test_rows_spread_over_devices_give_the_same_prompts():
    # The sum over rows is split in two: float32 rounding, lifted by Adam as in
    # test_lanes.
    np.testing.assert_allclose(train(2), train(1), atol=2e-5)


def test_rows_that_cannot_be_spread_are_a_sentence():
    place = placement.make(jax.devices()[:2])
    place.check_rows("batch_size", 4)
    with pytest.raises(InputError, match="batch_size = 5: .* over 2 devices; give a"):
        place.check_rows("batch_size", 5)
