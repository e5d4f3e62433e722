"""Optimisers against their formulas written out in NumPy, the schedule by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dtvg_jax import optim
from dtvg_jax.errors import InputError

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
    optimiser = optim.by_name(name)
    values = {key: jnp.asarray(v) for key, v in gradients(100).items()}
    state = optimiser.init(values)
    for t in range(1, steps + 1):
        grads = {key: jnp.asarray(v) for key, v in gradients(t, size).items()}
        direction, state = optimiser.update(grads, state, values)
        values = jax.tree.map(lambda x, d: x - rate * d, values, direction)
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


def test_the_two_differ_where_gradients_are_small():
    one, two = (ours(name, 0.05, 3, 1e-7) for name in ("adamw_stage1", "adamw_stage2"))
    assert np.abs(one["prompt"] - two["prompt"]).max() > 0.01


def test_adafactor_takes_steps_of_bounded_size():
    start = gradients(100)
    for size in (1e-3, 1e3):
        moved = ours("adafactor", 0.1, 1, size)
        for name, value in moved.items():
            step = np.sqrt(np.mean((np.asarray(value) - start[name]) ** 2))
            assert 0 < step <= 0.1 + 1e-6  # the root mean square is cut to 1


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
    ],
)
def test_schedule_by_hand(step, warmup, steps, share):
    arrays = (jnp.array(x) for x in (step, warmup, steps))
    assert optim.linear_schedule(*arrays) == pytest.approx(share)


def test_an_unknown_name_is_a_sentence():
    with pytest.raises(InputError, match="unknown optimiser 'adam': known are adamw_"):
        optim.by_name("adam")


def test_clipping_is_per_lane():
    optimiser = optax.clip_by_global_norm(optim.CLIP)
    grads = {"prompt": jnp.stack([jnp.full((2, 2), 5.0), jnp.full((2, 2), 0.1)])}
    one, _ = jax.vmap(lambda g: optimiser.update(g, optax.EmptyState()))(grads)
    np.testing.assert_allclose(one["prompt"][0], 0.5)
    np.testing.assert_allclose(one["prompt"][1], 0.1)
