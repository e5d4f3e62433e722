"""Optimisers against their formulas written out in NumPy, the schedule by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax.errors import InputError
from dtvg_jax.training import optimisers

SHAPES = {"prompt": (3, 4), "target_scale": (3,)}


def gradients(step: int, size: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    made = {name: rng.normal(size=shape) * size for name, shape in SHAPES.items()}
    return {name: value.astype(np.float32) for name, value in made.items()}


def clipped(grads: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As torch: one norm over all that a lane trains, to at most 1."""
    norm = np.sqrt(sum((g.astype(float) ** 2).sum() for g in grads.values()))
    return {name: g * min(1.0, 1.0 / norm) for name, g in grads.items()}


def adam(rate, eps, decay, scaled_eps, steps, size=1.0):
    """AdamW in float64; `scaled_eps`: eps beside the corrected root, as in torch."""
    values = gradients(100)
    values = {name: v.astype(float) for name, v in values.items()}
    m = {name: np.zeros(s) for name, s in SHAPES.items()}
    v = {name: np.zeros(s) for name, s in SHAPES.items()}
    for t in range(1, steps + 1):
        for name, g in clipped(gradients(t, size)).items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            root = np.sqrt(1 - 0.999**t)
            if scaled_eps:
                direction = m[name] / (1 - 0.9**t) / (np.sqrt(v[name]) / root + eps)
            else:
                direction = root / (1 - 0.9**t) * m[name] / (np.sqrt(v[name]) + eps)
            values[name] -= rate * (direction + decay * values[name])
    return values


def ours(name, rate, steps, size=1.0):
    optimiser = optimisers.by_name(name)
    update = jax.jit(optimiser.update)
    values = {key: jnp.asarray(v) for key, v in gradients(100).items()}
    state = optimiser.init(values)
    for t in range(1, steps + 1):
        direction, state = update(gradients(t, size), state, values)
        values = {key: v - rate * direction[key] for key, v in values.items()}
    return values


@pytest.mark.parametrize("size", [3.0, 1e-3, 1e-7])
def test_stage_1_is_torchs_adamw(size):
    expected = adam(0.05, 1e-8, 1e-5, True, 12, size)
    for name, value in ours("adamw_stage1", 0.05, 12, size).items():
        np.testing.assert_allclose(value, expected[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("size", [3.0, 1e-3, 1e-7])
def test_stage_2_is_transformers_adamw_without_decay(size):
    expected = adam(0.05, 1e-6, 0.0, False, 12, size)
    for name, value in ours("adamw_stage2", 0.05, 12, size).items():
        np.testing.assert_allclose(value, expected[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "decay"), [("adamw_stage1", 1e-5), ("adamw_stage2", 0.0)]
)
def test_without_gradients_only_decay_moves(name, decay):
    # In the tests above decay is smaller than the tolerance of float32.
    optimiser, values = optimisers.by_name(name), gradients(100)
    nothing = jax.tree.map(np.zeros_like, values)
    direction, _ = jax.jit(optimiser.update)(nothing, optimiser.init(values), values)
    for key, value in values.items():
        np.testing.assert_allclose(direction[key], decay * value, rtol=1e-6, atol=0)


def test_the_two_differ_where_gradients_are_small():
    one, two = (ours(name, 0.05, 3, 1e-7) for name in ("adamw_stage1", "adamw_stage2"))
    assert np.abs(one["prompt"] - two["prompt"]).max() > 0.01


def test_adafactor_cuts_a_sudden_step_to_a_root_mean_square_of_one():
    optimiser, values = optimisers.by_name("adafactor"), gradients(100)
    update = jax.jit(optimiser.update)
    state = optimiser.init(values)
    for t in range(10):
        direction, state = update(gradients(t, 1e-3), state, values)
        for value in direction.values():
            assert 0 < np.sqrt(np.mean(value**2)) <= 1 + 1e-6
    # The mean square so far has a weight of 1 - 11^-0.8: uncut it would be a step of
    # sqrt(11^0.8) = 2.6.
    direction, _ = update(gradients(10), state, values)
    for value in direction.values():
        assert np.sqrt(np.mean(value**2)) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("step", "warmup", "steps", "share"),
    [
        (0, 4, 20, 0.0),
        (1, 4, 20, 0.25),
        (4, 4, 20, 1.0),
        (12, 4, 20, 0.5),
        (20, 4, 20, 0.0),
        (30, 4, 20, 0.0),
        (0, 0, 10, 1.0),
        (9, 0, 10, 0.1),
        (5, 10, 5, 0.5),  # a warm-up longer than the run is cut off
        (499, 500, 30000, 0.998),
        (15250, 500, 30000, 0.5),
    ],
)
def test_schedule_by_hand(step, warmup, steps, share):
    arrays = (jnp.array(x) for x in (step, warmup, steps))
    assert optimisers.linear_schedule(*arrays) == pytest.approx(share)


def test_an_unknown_name_is_a_sentence():
    with pytest.raises(InputError, match="unknown optimiser 'adam': known are adamw_"):
        optimisers.by_name("adam")


@pytest.mark.parametrize("name", optimisers.OPTIMISERS)
def test_a_lane_among_others_moves_as_alone(name):
    """One norm per lane: the large gradients of one do not clip another's."""
    optimiser = optimisers.by_name(name)
    lanes = [(gradients(k), gradients(9 + k, size)) for k, size in enumerate((50, 0.1))]

    def first(values, grads):
        return optimiser.update(grads, optimiser.init(values), values)[0]

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *lanes)
    together = jax.jit(jax.vmap(first))(*stacked)
    for k, lane in enumerate(lanes):
        for key, alone in jax.jit(first)(*lane).items():
            np.testing.assert_allclose(together[key][k], alone, rtol=1e-5)


@pytest.mark.parametrize("name", optimisers.OPTIMISERS)
def test_a_gradient_longer_than_one_acts_as_one_of_length_one(name):
    optimiser, values = optimisers.by_name(name), gradients(100)
    update = jax.jit(optimiser.update)
    _, state = update(gradients(0, 0.2), optimiser.init(values), values)
    long = gradients(1, 50)
    assert all(np.linalg.norm(g) > 1 for g in long.values())
    for key, direction in update(long, state, values)[0].items():
        same = update(clipped(long), state, values)[0][key]
        np.testing.assert_allclose(direction, same, rtol=1e-5)
        # What came before is not forgotten, so that clipping can be seen at all.
        first = update(long, optimiser.init(values), values)[0][key]
        assert np.abs(direction - first).max() > 0.01


def test_clipping_is_one_norm_over_all_arrays_of_a_lane():
    # Adam hides the size of a first gradient, not that of the second against it.
    optimiser = optimisers.by_name("adamw_stage1")
    values = {"prompt": jnp.zeros((1, 1)), "target_scale": jnp.zeros(1)}
    small = {"prompt": jnp.array([[0.1]]), "target_scale": jnp.array([0.1])}
    large = {"prompt": jnp.array([[3.0]]), "target_scale": jnp.array([4.0])}
    update = jax.jit(optimiser.update)
    _, state = update(small, optimiser.init(values), values)
    direction, _ = update(large, state, values)
    for key, g in {"prompt": 0.6, "target_scale": 0.8}.items():
        m = (0.9 * 0.01 + 0.1 * g) / (1 - 0.9**2)
        v = (0.999 * 0.001 * 0.01 + 0.001 * g**2) / (1 - 0.999**2)
        assert direction[key].item() == pytest.approx(m / v**0.5, rel=1e-4)
