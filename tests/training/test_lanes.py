"""Lanes: K of them against single runs, one program while groups change, failures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_t5

from dtvg_jax.formats.load import load_backbone
from dtvg_jax.methods import METHODS
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.llama import LlamaConfig
from dtvg_jax.training import lanes, optimisers, step

K, G, S, P, H, B = 4, 2, 3, 5, 16, 6
EMBEDDED = "miniature"  # stands for a config: the backbone of the package
T5 = tiny_t5.CONFIG
LLAMA = LlamaConfig(
    vocab_size=64,
    hidden_size=H,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
)
RATES = optimisers.Rates(
    peak={
        "prompt": jnp.array([0.1, 0.03, 0.2, 0.1]),
        "target_scale": jnp.array([0.05, 0.1, 0.1, 0.02]),
        "source_scales": jnp.array([0.1, 0.05, 0.2, 0.1]),
        "down": jnp.array([0.03, 0.05, 0.02, 0.1]),
        "up": jnp.array([0.03, 0.05, 0.02, 0.1]),
        "norm_scale": jnp.array([0.3, 0.1, 0.2, 0.1]),
        "norm_bias": jnp.array([0.3, 0.1, 0.2, 0.1]),
        "row_factor": jnp.array([0.03, 0.05, 0.02, 0.1]),
        "width_factor": jnp.array([0.03, 0.05, 0.02, 0.1]),
    },
    warmup=jnp.array([0, 4, 2, 0]),
    steps=jnp.array([25, 25, 20, 12]),
)


# The first method of each structure: all others share its program, and differ in where
# lanes start, in rates and in vectors.
EACH = {one.structure: one.name for one in reversed(METHODS.values())}.values()


@functools.cache
def backbone(config=T5) -> backbones.Backbone:
    if config == EMBEDDED:
        return load_backbone(EMBEDDED)
    params = backbones.init_params(config, jax.random.key(1))
    return backbones.build("tiny", config, params, None, "")


@functools.cache
def step_of(method: str, config=T5, dropout: bool = False):
    """Makes one step per method, which tests share as it is compiled."""
    optimiser = optimisers.by_name("adamw_stage2")
    if config == EMBEDDED:
        # On trained weights the first gradient of some entries of a random prompt is a
        # thousandth of the largest. Adam brings it to full size, and its rounding with
        # it; with a large eps it does not, and still trains.
        optimiser = optax.chain(
            optax.clip_by_global_norm(optimisers.CLIP),
            optimisers.scale_by_adam_unscaled_eps(eps=1e-2),
        )
    return step.make_step(backbone(config), METHODS[method], optimiser, dropout=dropout)


def context(sources: int = S, width: int = H) -> lanes.LaneContexts:
    rng = np.random.default_rng(0)
    p_init = rng.normal(size=(G, P, width))
    start = np.repeat(p_init, K // G, axis=0) + rng.normal(0, 0.3, size=(K, P, width))
    made = (p_init, rng.normal(0, 0.5, size=(G, sources, P, width)), start)
    arrays = [jnp.asarray(x, jnp.float32) for x in made]
    available = jnp.ones((K, sources), bool).at[1:2, :1].set(False)
    return lanes.LaneContexts(*arrays, available, jnp.arange(G, dtype=jnp.uint32))


def fixed(sources: int = S, config=T5) -> lanes.Fixed:
    width = backbone(config).embedding(backbone(config).params).shape[1]
    return lanes.Fixed(context(sources, width), RATES, lanes.named_key(0, "test"))


def only(lane: int, whole: lanes.Fixed) -> lanes.Fixed:
    """The same for one lane alone: its own group, its own rates."""
    group, here = lane // (K // G), slice(lane, lane + 1)
    c = whole.context
    return lanes.Fixed(
        lanes.LaneContexts(
            c.p_init[group : group + 1],
            c.sources[group : group + 1],
            c.start[here],
            c.available[here],
            c.seed[group : group + 1],
        ),
        jax.tree.map(lambda x: x[here], whole.rates),
        whole.key,
    )


def tokens(at: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [K, B, T] and targets [K, B, L] of a step."""
    rng = np.random.default_rng(at)
    inputs = rng.integers(2, 64, size=(K, B, 7))
    inputs[:, : B // 2, 4:] = -1
    # Each lane has an answer of its own, which its prompt can learn.
    targets = np.full((K, B, 2), 1) + np.arange(5, 5 + K)[:, None, None] * [1, 0]
    return inputs, targets


def pooled(
    inputs: np.ndarray, targets: np.ndarray, lane: int | None = None, count: int = 1
) -> list[step.Rows]:
    """Deals the rows of all lanes, or of one, round into microbatches."""
    which = range(K) if lane is None else [lane]
    totals = (targets >= 0).sum(axis=(1, 2))
    rows = [
        (inputs[k, b], targets[k, b], n, 1 / totals[k])
        for b in range(B)
        for n, k in enumerate(which)
    ]
    types = jnp.int32, jnp.int32, jnp.int32, jnp.float32
    return [
        step.Rows(*map(jnp.asarray, zip(*rows[m::count], strict=True), types))
        for m in range(count)
    ]


def batch(at: int, lane: int | None = None, count: int = 1) -> list[step.Rows]:
    return pooled(*tokens(at), lane, count)


def train(method, given, steps=25, lane=None, config=T5, step_fn=None):
    optimiser = optimisers.by_name("adamw_stage2")
    state = lanes.init(METHODS[method], optimiser, given.context)
    given = given._replace(
        rates=given.rates._replace(
            peak={name: given.rates.peak[name] for name in state.trainables}
        )
    )
    step_fn, log = step_fn or step_of(method, config), []
    for at in range(steps):
        rows = batch(at, lane)
        state, metrics = step_fn(state, backbone(config).params, given, rows)
        log.append(jax.device_get(metrics))
    prompts = lanes.current(METHODS[method], state, given)[0].arrays
    return np.asarray(prompts), log, state


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("prompt_tuning", LLAMA),
        pytest.param("prompt_tuning", EMBEDDED, marks=pytest.mark.slow),
        ("dtvg", T5),
        pytest.param("dtvg", LLAMA, marks=pytest.mark.slow),
        pytest.param("dtvg", EMBEDDED, marks=pytest.mark.slow),
        pytest.param("attempt", LLAMA, marks=pytest.mark.slow),
        pytest.param("attempt", EMBEDDED, marks=pytest.mark.slow),
        *(
            pytest.param(name, T5, marks=pytest.mark.slow)
            for name in EACH
            if name != "dtvg"
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_lanes_together_end_as_each_alone(method, config):
    sources = 0 if method == "prompt_tuning" else S
    given = fixed(sources, config)
    together, log, state = train(method, given, config=config)
    assert log[-1]["loss"].mean() < log[0]["loss"].mean() - 0.3
    for lane in range(K):
        alone, own, ended = train(method, only(lane, given), lane=lane, config=config)
        # The same sums in another order: products of 4 lanes are tiled differently
        # from those of one. Adam divides by the root of second moments, which lifts
        # differences of tiny gradients to the size of its steps. Seen: up to 4.8e-6
        # with one layer of each stack, 8.3e-6 with the four layers of the embedded T5.
        np.testing.assert_allclose(together[lane], alone[0], atol=2e-5)
        for name, value in ended.trainables.items():
            np.testing.assert_allclose(
                state.trainables[name][lane], value[0], atol=2e-5
            )
        for both, single in zip(log, own, strict=True):
            np.testing.assert_allclose(both["loss"][lane], single["loss"][0], atol=1e-4)
            if "group" in both:
                np.testing.assert_array_equal(both["group"][lane], single["group"][0])


def test_the_group_changes_in_one_program():
    method, optimiser = METHODS["dtvg"], optimisers.by_name("adamw_stage2")
    made = step.make_step(backbone(), method, optimiser, dropout=False)
    counted = jax.jit(made)
    _, log, _ = train("dtvg", fixed(), step_fn=counted)
    groups = {tuple(metrics["group"].ravel()) for metrics in log}
    assert len(groups) > 1
    assert counted._cache_size() == 1


@pytest.mark.parametrize("name", ["dtvg", "attempt"])
def test_sources_are_not_copied_for_each_lane_or_row(name):
    optimiser, method = optimisers.by_name("adamw_stage2"), METHODS[name]
    state = lanes.init(method, optimiser, context())
    step_fn = step.make_step(backbone(), method, optimiser, dropout=False)
    program = jax.make_jaxpr(step_fn)(state, backbone().params, fixed(), batch(0))
    assert f"f32[{G},{S},{P},{H}]" in str(program)
    for copies in (K, f"{G},{K // G}", K * B, f"{G},{K * B}"):
        assert f"f32[{copies},{S},{P},{H}]" not in str(program)


def test_a_lane_that_fails_is_frozen_and_leaves_the_others_alone():
    good, log, _ = train("prompt_tuning", fixed(0))
    poisoned = fixed(0)
    start = poisoned.context.start.at[2].set(jnp.nan)
    poisoned = poisoned._replace(context=poisoned.context._replace(start=start))
    bad, _, state = train("prompt_tuning", poisoned)
    np.testing.assert_array_equal(state.alive, [True, True, False, True])
    others = [0, 1, 3]
    np.testing.assert_array_equal(bad[others], good[others])
    better = lanes.keep_best(
        METHODS["prompt_tuning"], state, poisoned, jnp.full(K, 50.0)
    )
    np.testing.assert_array_equal(better.best.score, [50, 50, -np.inf, 50])
    assert np.isfinite(log[-1]["loss"]).all()


def test_a_lane_that_fails_later_keeps_what_it_had():
    huge = fixed(0)
    peak = {"prompt": jnp.array([0.1, 0.1, 1e38, 0.1])}
    rates = huge.rates._replace(peak=huge.rates.peak | peak)
    prompts, log, state = train("prompt_tuning", huge._replace(rates=rates))
    assert not state.alive[2] and np.isfinite(log[0]["loss"][2])
    assert np.isfinite(prompts[[0, 1, 3]]).all()


def test_a_lane_stays_as_it_is_after_its_own_steps():
    after_12, _, _ = train("prompt_tuning", fixed(0), steps=12)
    after_20, _, _ = train("prompt_tuning", fixed(0), steps=20)
    after_25, _, _ = train("prompt_tuning", fixed(0))
    np.testing.assert_array_equal(after_12[3], after_25[3])
    np.testing.assert_array_equal(after_20[2], after_25[2])
    assert np.abs(after_12[0] - after_25[0]).max() > 1e-3


def test_the_first_of_equal_scores_is_kept_with_its_merged_prompt():
    method, given = METHODS["dtvg"], fixed()
    prompts, _, state = train("dtvg", given, steps=5)
    state = lanes.keep_best(method, state, given, jnp.array([1.0, 2, 3, 4]))
    np.testing.assert_array_equal(state.best.prompt, prompts)
    later = state._replace(
        step=jnp.int32(9),
        trainables=jax.tree.map(lambda x: x + 1, state.trainables),
    )
    later = lanes.keep_best(method, later, given, jnp.array([1.0, 3, 2, 4]))
    np.testing.assert_array_equal(later.best.step, [5, 9, 5, 5])
    np.testing.assert_array_equal(later.best.score, [1, 3, 3, 4])
    kept = np.array([0, 2, 3])
    np.testing.assert_array_equal(later.best.prompt[kept], prompts[kept])


def test_dropout_differs_between_steps_and_microbatches_and_is_repeated():
    given = fixed(0)
    peak = {"prompt": jnp.zeros(K)}  # so that nothing but dropout changes
    given = given._replace(rates=RATES._replace(peak=peak))
    step_fn = step_of("prompt_tuning", dropout=True)

    def losses(steps: int, count: int) -> list[float]:
        optimiser = optimisers.by_name("adamw_stage2")
        state = lanes.init(METHODS["prompt_tuning"], optimiser, given.context)
        found = []
        for _ in range(steps):
            rows = batch(0, count=count)
            state, metrics = step_fn(state, backbone().params, given, rows)
            found.append(float(metrics["loss"].sum()))
        return found

    first, second = losses(2, 1)
    assert first != second
    assert losses(2, 1) == [first, second]
    assert losses(1, 2) != [first]


def test_keys_are_named():
    keys = [lanes.named_key(0, "a", "b"), lanes.named_key(0, "b", "a")]
    keys += [lanes.named_key(1, "a", "b"), lanes.named_key(0, "ab")]
    data = {tuple(jax.random.key_data(key).tolist()) for key in keys}
    assert len(data) == 4
    assert (lanes.named_key(0, "a", "b") == keys[0]).all()
