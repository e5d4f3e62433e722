"""Rows of all lanes pooled: gradients and steps are those of each lane's own mean."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import test_lanes
from test_lanes import B, K, S

from dtvg_jax import methods
from dtvg_jax.methods import METHODS
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.backbone import token_loss
from dtvg_jax.training import lanes, step

RATE = 2.0**12
CONFIGS = pytest.mark.parametrize(
    "config", [test_lanes.T5, test_lanes.LLAMA], ids=["t5", "llama"]
)


def ragged(at: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of lanes 0 and 1 are short, of 2 and 3 long; targets have 1 to 3 tokens."""
    rng = np.random.default_rng(at)
    inputs = rng.integers(2, 64, size=(K, B, 12))
    sizes = rng.integers([[1], [2], [5], [8]], [[4], [6], [10], [13]], size=(K, B))
    inputs[np.arange(12) >= sizes[..., None]] = -1
    targets = rng.integers(2, 64, size=(K, B, 3))
    targets[np.arange(3) >= rng.integers(1, 4, size=(K, B, 1))] = -1
    return inputs, targets


def sorted_and_cut(at: int, count: int, leave_out: int | None = None):
    """The rows of a step by length, in `count` microbatches padded to 6 or 12."""
    inputs, targets = ragged(at)
    whole = test_lanes.pooled(inputs, targets)[0]
    sizes = np.asarray((whole.inputs >= 0).sum(axis=1))
    order = np.argsort(sizes, kind="stable")
    order = order[np.asarray(whole.lanes)[order] != leave_out]
    return [
        step.Rows(
            whole.inputs[mine, : 6 if sizes[mine].max() <= 6 else 12],
            whole.targets[mine],
            whole.lanes[mine],
            whole.weights[mine],
        )
        for mine in np.split(order, count)
    ]


def made_of_rows(method, trainables, given, config, inputs):
    """The prompt of each row [K, B, P, H], of its real tokens only, one by one."""
    backbone = test_lanes.backbone(config)
    embedding = backbone.embedding(backbone.params)
    c = given.context
    made = []
    for k in range(K):
        own = {name: x[k] for name, x in trainables.items()}
        g = k // (K // test_lanes.G)
        seen = methods.Context(
            c.p_init[g], c.sources[g], c.start[k], c.available[k], c.seed[g]
        )
        for row in inputs[k]:
            tokens = embedding[row[row >= 0]]
            real = jnp.ones(len(tokens), bool)
            made.append(method.row_prompt(own["prompt"], own, seen, tokens, real))
    return jnp.stack(made).reshape(K, B, *c.start.shape[1:])


def unpooled_gradients(method, given, config, at):
    """The gradient of the sum of lanes' mean losses, each lane a batch of its own."""
    backbone = test_lanes.backbone(config)
    trainables, method_state = lanes.init(
        METHODS[method], optax.identity(), given.context
    )[1:3]
    # Which tokens are real is no part of the compiled reference.
    inputs, targets = (np.asarray(x, np.int32) for x in ragged(at))

    def total(trainables):
        prompts, _, _ = lanes.prompts(
            METHODS[method],
            trainables,
            method_state,
            given.context,
            jnp.int32(0),
        )
        if METHODS[method].looks_at_rows:
            prompts = made_of_rows(METHODS[method], trainables, given, config, inputs)
        rows = jax.vmap(backbone.logits, in_axes=(None, 0, 0, 0))
        logits = rows(backbone.params, prompts, inputs, targets)
        losses = jax.vmap(token_loss)(logits, targets)
        return jnp.sum(losses), losses

    return jax.jit(jax.grad(total, has_aux=True))(trainables)


@functools.cache
def plain_step(method, config):
    """A step without an optimiser, compiled once for all tests."""
    backbone = test_lanes.backbone(config)
    return step.make_step(backbone, METHODS[method], optax.identity(), dropout=False)


def made_by_a_step(method, given, config, rows):
    """The gradient, as what a step without an optimiser takes away.

    Its rate is large, so that of small gradients more is left than the last bits of
    values near 1.
    """
    made = METHODS[method]
    state = lanes.init(made, optax.identity(), given.context)
    rates = given.rates._replace(
        peak={name: jnp.full(K, RATE) for name in state.trainables},
        warmup=jnp.zeros(K, jnp.int32),
    )
    backbone = test_lanes.backbone(config)
    step_fn = plain_step(method, config)
    before = jax.device_get(state.trainables)
    state, metrics = step_fn(state, backbone.params, given._replace(rates=rates), rows)
    gradients = jax.tree.map(lambda a, b: (a - b) / RATE, before, state.trainables)
    return gradients, metrics


def assert_gradients_agree(found, expected):
    """Compares each array on the scale of its own largest gradient."""
    for name, value in expected.items():
        # The smallest, 1.1e-5, is of the norm's scale in ATTEMPT on the tiny Llama,
        # whose embedded tokens are small. The same float32 sums in another order differ
        # by up to 2.3e-6 of it.
        scale = np.abs(value).max()
        assert scale > 1e-5
        np.testing.assert_allclose(found[name], value, rtol=0, atol=5e-6 * scale)


@CONFIGS
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("method", ["prompt_tuning", "dtvg"])
def test_gradients_are_those_of_the_lanes_own_means(config, count, method):
    given = test_lanes.fixed(S if method == "dtvg" else 0, config)
    expected, losses = unpooled_gradients(method, given, config, 0)
    found, metrics = made_by_a_step(method, given, config, sorted_and_cut(0, count))
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-5)
    assert_gradients_agree(found, expected)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        pytest.param(test_lanes.T5, 1, marks=pytest.mark.slow),
        (test_lanes.T5, 2),
        pytest.param(test_lanes.LLAMA, 2, marks=pytest.mark.slow),
    ],
    ids=["t5-1", "t5-2", "llama-2"],
)
def test_prompts_of_rows_have_the_gradients_of_rows_without_padding(config, count):
    given = test_lanes.fixed(S, config)
    expected, losses = unpooled_gradients("attempt", given, config, 0)
    rows = sorted_and_cut(0, count)
    found, metrics = made_by_a_step("attempt", given, config, rows)
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-5)
    assert set(found) == {"prompt", "down", "up", "norm_scale", "norm_bias"}
    assert_gradients_agree(found, expected)


def trained(config, count: int, ends: int | None = None) -> tuple[np.ndarray, ...]:
    """The prompts after 20 steps; lane 3 has rows until step `ends` only."""
    given = test_lanes.fixed(S, config)
    optimiser = test_lanes.optimisers.by_name("adamw_stage2")
    method = METHODS["dtvg"]
    state = lanes.init(method, optimiser, given.context)
    step_fn = test_lanes.step_of("dtvg", config)
    backbone = test_lanes.backbone(config)
    for at in range(20):
        left = 3 if ends is not None and at >= ends else None
        rows = sorted_and_cut(at, count, left)
        state, metrics = step_fn(state, backbone.params, given, rows)
    return np.asarray(lanes.current(method, state, given)[0].arrays), metrics


@CONFIGS
def test_twenty_steps_end_alike_however_rows_are_cut(config):
    whole, _ = trained(config, 1)
    for count in (2, 4):
        # Adam lifts the rounding of small gradients to the size of its steps, of 0.1.
        np.testing.assert_allclose(trained(config, count)[0], whole, atol=2e-4)


def test_a_lane_without_rows_stays_as_it_is_at_its_end_and_the_others_train_on():
    whole, _ = trained(test_lanes.T5, 1)
    # RATES end lane 3 at step 12, where its rate is 0 with rows or without.
    short, metrics = trained(test_lanes.T5, 1, ends=12)
    np.testing.assert_allclose(short, whole, atol=2e-4)
    assert metrics["loss"][3] == 0 and metrics["loss"][:3].min() > 0


def test_a_row_of_no_weight_changes_nothing():
    given = test_lanes.fixed(0)
    rows = sorted_and_cut(0, 1)[0]
    filled = step.Rows(
        *(jnp.concatenate([x[:1], x]) for x in rows[:3]),
        jnp.concatenate([jnp.zeros(1), rows.weights]),
    )
    expected, _ = made_by_a_step("prompt_tuning", given, test_lanes.T5, [rows])
    found, _ = made_by_a_step("prompt_tuning", given, test_lanes.T5, [filled])
    np.testing.assert_allclose(found["prompt"], expected["prompt"], atol=2e-6)


@pytest.mark.parametrize(
    "config",
    [test_lanes.T5, pytest.param(test_lanes.LLAMA, marks=pytest.mark.slow)],
    ids=["t5", "llama"],
)
def test_layers_that_are_computed_again_give_the_same_gradients(config):
    given, rows = test_lanes.fixed(0, config), sorted_and_cut(0, 1)
    expected, metrics = made_by_a_step("prompt_tuning", given, config, rows)
    again = backbones.with_remat(test_lanes.backbone(config))
    method = METHODS["prompt_tuning"]
    state = lanes.init(method, optax.identity(), given.context)
    rates = given.rates._replace(
        peak={"prompt": jnp.ones(K)}, warmup=jnp.zeros(K, jnp.int32)
    )
    before = jax.device_get(state.trainables)
    step_fn = step.make_step(again, method, optax.identity(), dropout=False)
    given = given._replace(rates=rates)
    assert "remat" in str(jax.make_jaxpr(step_fn)(state, again.params, given, rows))
    state, found = step_fn(state, again.params, given, rows)
    np.testing.assert_allclose(found["loss"], metrics["loss"], rtol=1e-6)
    np.testing.assert_allclose(
        before["prompt"] - state.trainables["prompt"], expected["prompt"], atol=2e-6
    )
