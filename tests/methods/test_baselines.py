"""Baselines and controls against the formulas of their papers, in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax import methods
from dtvg_jax.errors import InputError
from dtvg_jax.methods import attempt, controls, dtvg, merges, mpt, subset
from dtvg_jax.training import lanes, optimisers

S, P, H = 4, 3, 6
AVAILABLE = np.array([True, False, True, True])


def context(available: np.ndarray = AVAILABLE) -> methods.Context:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return methods.Context(
        normal(P, H),
        normal(S, P, H),
        normal(P, H),
        jnp.asarray(available),
        jnp.uint32(0),
    )


def made(method: methods.Method, here: methods.Context):
    """The trainables at the start, their prompt, and its gradients for a given g."""
    trainables, method_state = method.init(here)

    def prompt(trainables):
        return method.prompt(trainables, method_state, here, jnp.array(0))[0]

    value, pull = jax.vjp(prompt, trainables)
    g = np.random.default_rng(1).normal(size=(P, H)).astype(np.float32)
    [gradients] = pull(jnp.asarray(g))
    return trainables, value, g, gradients


def vectors_of(here: methods.Context) -> list[np.ndarray]:
    """The target's own vector, then those of the sources that are available."""
    own = np.asarray(here.start) - np.asarray(here.p_init)
    pairs = zip(here.sources, here.available, strict=True)
    return [own, *(np.asarray(vector) for vector, ok in pairs if ok)]


def ties(vectors: list[np.ndarray], density: float) -> np.ndarray:
    """Algorithm 1 of arXiv 2306.01708, number by number."""
    trimmed = []
    for vector in vectors:
        kept = np.zeros(vector.size)
        for i in np.argsort(-np.abs(vector.ravel()))[: round(density * vector.size)]:
            kept[i] = vector.ravel()[i]
        trimmed.append(kept)
    merged = np.zeros(vectors[0].size)
    for i in range(merged.size):
        sign = np.sign(sum(kept[i] for kept in trimmed))
        agree = [kept[i] for kept in trimmed if kept[i] and np.sign(kept[i]) == sign]
        merged[i] = np.mean(agree) if agree else 0
    return merged.reshape(vectors[0].shape)


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("available", [AVAILABLE, np.zeros(S, bool)])
def test_ties_starts_from_its_merge(density, available):
    here = context(available)
    method = merges.Ties(density=density, scale=0.7)
    trainables, value, g, gradients = made(method, here)
    merged = np.asarray(here.p_init) + 0.7 * ties(vectors_of(here), density)
    np.testing.assert_allclose(value, merged, rtol=1e-5, atol=1e-6)
    assert set(trainables) == {"prompt"}
    np.testing.assert_array_equal(gradients["prompt"], g)


def test_dare_drops_and_rescales():
    """Every number of the sum is one over 1 - drop of some of the vectors' numbers."""
    here = context()
    value = made(merges.Dare(drop=0.5, scale=0.3), here)[1]
    keep = jax.random.bernoulli(jax.random.key(0), 0.5, (S + 1, P, H))
    used = [0, *(1 + np.flatnonzero(AVAILABLE))]
    summed = sum(
        np.asarray(keep[n]) * vector / 0.5
        for n, vector in zip(used, vectors_of(here), strict=True)
    )
    expected = np.asarray(here.p_init) + 0.3 * summed
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    other = made(merges.Dare(drop=0.5, scale=0.3, drop_seed=1), here)[1]
    assert not np.allclose(value, other)


def test_dare_without_dropping_is_the_sum():
    here = context()
    value = made(merges.Dare(drop=0.0), here)[1]
    expected = np.asarray(here.p_init) + sum(vectors_of(here))
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


def test_dare_keeps_the_mean():
    """Over many draws the expected value is the sum of the vectors."""
    here = context()
    vectors = jnp.concatenate([here.start[None], here.sources])
    draws = [
        merges.Dare(drop=0.5, drop_seed=seed).merge(vectors, jnp.ones(S + 1, bool))
        for seed in range(400)
    ]
    # The standard error of a number is sqrt(sum of squares / 400).
    error = np.sqrt(np.square(vectors).sum(axis=0) / 400)
    assert np.all(np.abs(np.mean(draws, axis=0) - vectors.sum(axis=0)) < 5 * error)


@pytest.mark.parametrize("method", [mpt.Mpt(), mpt.MptMixture()])
def test_mpt_is_a_shared_prompt_times_rank_one_factors(method):
    """P o (u v^T): dP = g o u v^T, du = (g o P) v, dv = (g o P)^T u."""
    here = context()
    trainables, value, _, _ = made(method, here)
    sources = [np.asarray(here.p_init + here.sources[s]) for s in (0, 2, 3)]
    shared = np.mean(sources, axis=0)
    if method.name == "mpt_mixture":
        shared = np.asarray(here.start)
    np.testing.assert_allclose(value, shared, rtol=1e-5, atol=1e-6)
    rng = np.random.default_rng(5)
    u, v = rng.normal(size=P).astype("f4"), rng.normal(size=H).astype("f4")
    g = rng.normal(size=(P, H)).astype("f4")
    moved = trainables | {"row_factor": jnp.asarray(u), "width_factor": jnp.asarray(v)}

    def prompt(trainables):
        return method.prompt(trainables, (), here, jnp.array(0))[0]

    value, pull = jax.vjp(prompt, moved)
    [gradients] = pull(jnp.asarray(g))
    expected = {
        "prompt": g * np.outer(u, v),
        "row_factor": (g * shared) @ v,
        "width_factor": (g * shared).T @ u,
    }
    np.testing.assert_allclose(value, shared * np.outer(u, v), rtol=1e-5, atol=1e-6)
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=1e-5)
    rates = {"prompt": 0.2, "row_factor": 0.1, "width_factor": 0.1}
    assert dataclasses.replace(method, factor_rate=0.5).rates(0.2) == rates


def test_mpt_without_a_source_begins_at_the_start():
    here = context(np.zeros(S, bool))
    np.testing.assert_array_equal(made(mpt.Mpt(), here)[1], here.start)


def test_random_vectors_have_the_sources_norms_and_nothing_else():
    learned = np.asarray(context().sources)
    drawn = controls.RandomVectors().vectors(learned, 3)
    np.testing.assert_allclose(
        np.linalg.norm(drawn, axis=(1, 2)), np.linalg.norm(learned, axis=(1, 2)), 1e-5
    )
    assert drawn.dtype == np.float32
    again = controls.RandomVectors().vectors(learned * 2, 3)
    np.testing.assert_allclose(again, 2 * drawn, rtol=1e-5)  # only norms are looked at
    assert not np.allclose(controls.RandomVectors().vectors(learned, 4), drawn)


def test_shuffled_rows_are_the_same_rows():
    learned = np.arange(S * 20 * H, dtype=np.float32).reshape(S, 20, H)
    shuffled = controls.ShuffledRows().vectors(learned, 0)
    np.testing.assert_array_equal(np.sort(shuffled, axis=1), learned)
    orders = [np.argsort(vector[:, 0]).tolist() for vector in shuffled]
    assert len(set(map(tuple, orders))) == S and list(range(20)) not in orders


def test_another_seeds_vectors_are_the_next_seeds():
    method = controls.OtherSeedVectors()
    assert [method.source_seed(seed, [5, 7, 2]) for seed in (5, 7, 2)] == [7, 2, 5]
    assert method.bare_vectors and not dtvg.Grouped().bare_vectors
    with pytest.raises(InputError, match="'other_seed_vectors' takes vectors of"):
        method.check(["a"], [5])


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (subset.Subset(), "method 'subset' has no sources: set `subset.Subset.only`"),
        (subset.Subset(only=["sts2"]), "'sts2': did you mean 'sst2'?"),
        (subset.Subset(only=["qnli"]), None),
    ],
)
def test_a_subset_is_of_the_jobs_sources(method, sentence):
    sources = ["sst2", "qnli"]
    if sentence is None:
        method.check(sources, [0])
        assert [method.uses(source) for source in sources] == [False, True]
    else:
        with pytest.raises(InputError) as error:
            method.check(sources, [0])
        assert sentence in str(error.value)


def test_a_baseline_takes_the_rule_and_settings_of_groups():
    one = dtvg.Grouped(source_scale_rate=0.5)
    assert methods.resolve("shuffled_rows", [one]).rates(0.1)["source_scales"] == 0.5
    chosen = methods.resolve("subset", [one])
    assert isinstance(chosen, subset.Subset)
    assert (chosen.rule, chosen.name) == ("all_sources", "subset")
    among = dataclasses.replace(chosen, rule="dtvg", only=("a",), alias="dtvg_among_a")
    assert among.structure != chosen.structure and among.name == "dtvg_among_a"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: merges.Ties(density=0.0), "density = 0.0: it must be in (0, 1]"),
        (lambda: merges.Dare(drop=1.0), "drop = 1.0: it must be in [0, 1)"),
        (
            lambda: merges.Dare(scale=-1.0),
            "scale = -1.0: it must be a number of at least 0",
        ),
        (lambda: mpt.Mpt(factor_rate=float("inf")), "factor_rate = inf"),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence(make, sentence):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    "method",
    [
        merges.Ties(),
        merges.Dare(),
        mpt.Mpt(),
        mpt.MptMixture(),
        subset.Subset(only=["a"]),
        attempt.Attempt(),
    ],
)
def test_a_lane_among_others_is_one_alone(method):
    """Four lanes in two groups of a seed, each with sources and a start of its own."""
    rng = np.random.default_rng(2)
    p_init, sources, start = (
        rng.normal(size=shape).astype("f4")
        for shape in [(2, P, H), (2, S, P, H), (4, P, H)]
    )
    available = rng.random((4, S)) > 0.3
    seeds = np.array([7, 5], np.uint32)
    contexts = lanes.LaneContexts(
        *map(jnp.asarray, (p_init, sources, start, available, seeds))
    )
    state = lanes.init(method, optimisers.by_name("adamw_stage2"), contexts)
    for k in range(4):
        g = k // 2
        arrays = p_init[g], sources[g], start[k], available[k], seeds[g]
        alone = methods.Context(*map(jnp.asarray, arrays))
        trainables, prompt, _, _ = made(method, alone)
        np.testing.assert_allclose(state.best.prompt[k], prompt, rtol=1e-5, atol=1e-6)
        for name, value in trainables.items():
            np.testing.assert_allclose(
                state.trainables[name][k], value, rtol=1e-5, atol=1e-6
            )
