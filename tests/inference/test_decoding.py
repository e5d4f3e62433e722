"""Greedy decoding: with scripted scores by hand, and with tiny backbones."""

from types import SimpleNamespace

import golden_backbones as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax.inference import decoding
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models import layers
from dtvg_jax.models.backbone import Backbone

END = 1


def _scripted(calls: list[int]) -> Backbone:
    """A backbone that counts down from a row's first input token to the end token.

    Row [5, ...] gives 5, 4, 3, 2, 1 = END.  `calls` grows with each step that runs.
    """

    def scores(tokens: jax.Array) -> jax.Array:
        return jax.nn.one_hot(tokens, 9)

    def prefill(params, prompt, inputs, length):
        return scores(inputs[:, 0]), {"last": inputs[:, 0]}

    def decode(params, cache, tokens):
        jax.debug.callback(lambda: calls.append(1))
        last = cache["last"] - 1
        return scores(last), {"last": last}

    vocabulary = SimpleNamespace(eos_id=END)
    nothing = lambda *_: None
    functions = [nothing] * 4 + [prefill, decode, nothing]
    config = golden.load("t5_v1_0").config
    return Backbone("", False, config, vocabulary, {}, "", *functions)


@pytest.mark.parametrize(
    ("first", "want", "steps"),
    [
        ([3, 2], [[3, 2, 1, -1, -1], [2, 1, -1, -1, -1]], 2),
        ([8, 2], [[8, 7, 6, 5, 4], [2, 1, -1, -1, -1]], 4),
        ([1, 1], [[1, -1, -1, -1, -1]] * 2, 0),
        # A row of padding only fills a batch and holds nobody up.
        ([2, -1], [[2, 1, -1, -1, -1], [-1] * 5], 1),
        ([-1, -1], [[-1] * 5] * 2, 0),
    ],
)
def test_scripted_scores(first: list, want: list, steps: int) -> None:
    calls: list[int] = []
    inputs = jnp.array(first, jnp.int32)[..., None]
    got = decoding.greedy(_scripted(calls), {}, jnp.zeros((1, 2)), inputs, 5)
    jax.effects_barrier()
    np.testing.assert_array_equal(got.tokens, want)
    assert got.tokens.dtype == jnp.int32
    assert len(calls) == steps
    # The chosen one of 9 tokens has the logit 1, the others 0.
    tokens = (np.array(want) >= 0).sum(axis=1)
    each = np.log(np.e / (np.e + 8))
    np.testing.assert_allclose(got.scores, tokens * each, rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["t5_v1_1_narrow", pytest.param("llama_3_tied", marks=pytest.mark.slow)]
)
def test_rows_of_other_prompts_change_nothing(name: str) -> None:
    prompts, inputs, _ = golden.lane_batch(golden.load(name))
    of_rows, rows = jnp.repeat(prompts, 2, axis=0), inputs.reshape(6, -1)
    together = golden.greedy(name)(of_rows, rows, 6)
    assert len({row.tobytes() for row in np.array(together.tokens)}) > 3
    for k in range(3):
        alone = golden.greedy(name)(prompts[k], inputs[k], 6)
        mine = slice(2 * k, 2 * k + 2)
        np.testing.assert_array_equal(alone.tokens, together.tokens[mine])
        np.testing.assert_allclose(alone.scores, together.scores[mine], rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "llama_3_tied",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("t5_v1_1_narrow", "qwen3_tied")
        ),
    ],
)
def test_scores_are_those_of_the_whole_model(name: str) -> None:
    b = golden.load(name)
    prompts, inputs, _ = golden.lane_batch(b)
    plain = golden.greedy(name)(prompts[0], inputs[0], 6)
    eos = int(plain.tokens[0, 2])  # so that a row ends before the last step
    got = golden.greedy(name, eos)(prompts[0], inputs[0], 6)
    assert (np.array(got.tokens) < 0).any()
    logits = b.logits(b.params, prompts[0], inputs[0], got.tokens)
    every = np.array(jax.nn.log_softmax(logits))
    for row, tokens in enumerate(np.array(got.tokens)):
        want = sum(every[row, i, token] for i, token in enumerate(tokens) if token >= 0)
        assert got.scores[row] == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize("name", ["t5_v1_1", "llama_untied"])
def test_the_end_token_stops_its_row_only(name: str) -> None:
    v = golden.values(name)
    eos = int(v["greedy"][0, 2])
    got = golden.greedy(name, eos)(v["prompt"], v["inputs"], 8).tokens
    want = v["greedy"].copy()
    for row in want:
        if eos in row:
            row[list(row).index(eos) + 1 :] = -1
    assert -1 in want[0] and want.max() >= 0
    np.testing.assert_array_equal(got, want)


def test_one_token_is_the_prefill_alone() -> None:
    v = golden.values("t5_v1_1")
    got = golden.greedy("t5_v1_1")(v["prompt"], v["inputs"], 1)
    np.testing.assert_array_equal(got.tokens, v["greedy"][:, :1])


@pytest.mark.parametrize("name", ["t5_v1_1", "llama_3_tied"])
def test_layers_apart_decode_as_stacked_ones(name: str, monkeypatch) -> None:
    b = golden.load(name)
    prompt, inputs = (jnp.array(golden.values(name)[k]) for k in ("prompt", "inputs"))
    split = backbones.apart(b, b.params)
    assert jax.tree.structure(split) != jax.tree.structure(b.params)
    apart = golden.greedy(name)(prompt, inputs, 6)
    monkeypatch.setattr(layers, "APART", 0)
    assert backbones.apart(b, b.params) is b.params
    stacked = decoding.greedy(b, b.params, prompt, inputs, 6)
    np.testing.assert_array_equal(apart.tokens, stacked.tokens)
    np.testing.assert_allclose(apart.scores, stacked.scores, rtol=1e-5)
