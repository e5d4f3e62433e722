"""ATTEMPT against the formulas of its paper, in NumPy and float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax import methods
from dtvg_jax.errors import InputError
from dtvg_jax.methods import attempt, row_prompts
from dtvg_jax.training import programs

S, P, H, SIZE, T = 3, 4, 6, 5, 7
METHOD = attempt.Attempt(size=SIZE, tau=0.0)
AVAILABLE = [[True, True, True], [True, False, True], [False, False, False]]
G = np.random.default_rng(9).normal(size=(P, H))


def drawn(available: list[bool]) -> row_prompts.RowPrompt:
    """A lane whose attention is far from even."""
    rng = np.random.default_rng(0)
    shapes = {"prompt": (P, H), "down": (H, SIZE), "up": (SIZE, H)}
    trainables = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    trainables |= {name: rng.normal(size=H) for name in ("norm_scale", "norm_bias")}
    trainables = {name: jnp.asarray(x, jnp.float32) for name, x in trainables.items()}
    p_init, sources, start = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((P, H), (S, P, H), (P, H))
    )
    context = methods.Context(
        p_init, sources, start, jnp.asarray(available), jnp.uint32(0)
    )
    return row_prompts.RowPrompt(METHOD, trainables["prompt"], trainables, context)


def attend(
    weights: dict[str, np.ndarray],
    sources: list[np.ndarray],
    tokens: np.ndarray,
    temperature: float,
) -> np.ndarray:
    """Equations 1 to 4 of the paper, prompt by prompt."""
    own = weights["prompt"]
    if not sources:
        return own
    down = tokens.max(axis=0) @ weights["down"]
    up = (down / (1 + np.exp(-down))) @ weights["up"]
    normed = (up - up.mean()) / np.sqrt(up.var() + 1e-5)
    h = normed * weights["norm_scale"] + weights["norm_bias"]
    prompts = [*sources, own]
    exponents = [np.exp(prompt.max(axis=0) @ h / temperature) for prompt in prompts]
    shares = [one / sum(exponents) for one in exponents]
    return own + sum(a * prompt for a, prompt in zip(shares, prompts, strict=True))


def reference(lane: row_prompts.RowPrompt, tokens: np.ndarray, **changed: np.ndarray):
    weights = {k: np.asarray(x, np.float64) for k, x in lane.trainables.items()}
    c = lane.context
    pairs = zip(c.sources, c.available, strict=True)
    sources = [np.asarray(c.p_init, float) + np.asarray(x) for x, ok in pairs if ok]
    return attend(weights | changed, sources, tokens, H * np.exp(METHOD.tau))


@pytest.mark.parametrize("available", AVAILABLE)
@pytest.mark.parametrize("count", [1, T])
def test_the_prompt_of_a_row_is_the_papers(available, count):
    lane = drawn(available)
    tokens = np.random.default_rng(count).normal(size=(T, H)).astype("f4")
    tokens[count:] = 100  # padding, which is not to be seen
    real = jnp.arange(T) < count
    [found] = lane.of_rows(jnp.asarray(tokens)[None], real[None])
    expected = reference(lane, tokens[:count].astype(float))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("available", AVAILABLE)
def test_its_gradients_are_finite_differences(available):
    lane = drawn(available)
    tokens = np.random.default_rng(1).normal(size=(T, H)).astype("f4")

    def loss(trainables):
        made = dataclasses.replace(
            lane, trainables=trainables, prompt=trainables["prompt"]
        )
        [found] = made.of_rows(jnp.asarray(tokens)[None], jnp.ones((1, T), bool))
        return jnp.sum(found * jnp.asarray(G, jnp.float32))

    gradients = jax.grad(loss)(lane.trainables)
    for name, value in lane.trainables.items():
        value = np.asarray(value, np.float64)
        expected = np.zeros(value.shape)
        for at in np.ndindex(value.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = value.copy()
                moved[at] += step
                ends.append(np.sum(G * reference(lane, tokens, **{name: moved})))
            expected[at] = (ends[0] - ends[1]) / 2e-6
        assert np.any(expected) == (name == "prompt" or any(available))
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-4, atol=1e-5)


def test_a_row_without_tokens_has_a_finite_prompt():
    lane = drawn([True] * S)
    nothing = jnp.zeros((1, T, H)), jnp.zeros((1, T), bool)
    assert np.isfinite(lane.of_rows(*nothing)).all()


def test_weights_are_drawn_by_the_seed_and_have_rates():
    method, here = methods.METHODS["attempt"], drawn([True] * S).context
    first, again, other = (
        method.init(here._replace(seed=jnp.uint32(seed)))[0] for seed in (1, 1, 2)
    )
    assert first["down"].shape == (H, 100) and first["up"].shape == (100, H)
    np.testing.assert_array_equal(first["prompt"], here.start)
    for name in ("down", "up"):
        np.testing.assert_array_equal(first[name], again[name])
        assert np.abs(first[name] - other[name]).min() > 0
        assert float(jnp.std(first[name])) == pytest.approx(0.01, rel=0.1)
    rates = dataclasses.replace(METHOD, attention_rate=0.5).rates(0.2)
    assert rates == {"prompt": 0.2} | dict.fromkeys(
        ("down", "up", "norm_scale", "norm_bias"), 0.1
    )
    assert programs.trained_numbers(method, S, P, H) == P * H + 2 * 100 * H + 2 * H


def test_what_rows_prompts_are_made_of_goes_into_an_entry_and_back():
    lane = drawn(AVAILABLE[1])
    arrays = row_prompts.as_arrays(lane)
    assert row_prompts.are_in(arrays) and not row_prompts.are_in({"prompt": G})
    variant = dataclasses.replace(METHOD, variant="x", attention_rate=0.1)
    method = methods.of_settings(variant.settings)
    assert method == METHOD  # nothing of what one program may differ in
    prompt = np.asarray(lane.prompt)
    made = row_prompts.from_arrays(method, {"prompt": prompt, **arrays})
    jax.tree.map(np.testing.assert_array_equal, made, lane)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"class": "os:system"},
            "the method 'os:system' is not of this package: import",
        ),
        ({"depth": 2}, "the method '{}' has no field 'depth' in this version"),
        ({"size": "many"}, "size = 'many'"),
    ],
)
def test_settings_of_no_method_are_sentences(change, sentence):
    settings = METHOD.settings
    with pytest.raises(InputError) as error:
        methods.of_settings(settings | change)
    assert str(error.value).startswith(sentence.format(settings["class"]))
