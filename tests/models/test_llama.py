"""Llama and its kin by their properties; test_hugging_face has torch's numbers."""

import dataclasses

import golden_backbones as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax.models import backbone, llama

LLAMA_3 = llama.Rope(500000.0, "llama3", 32.0, 1.0, 4.0, 8192)


def test_llama3_frequencies_by_hand() -> None:
    """Waves under 2048 positions stay, over 8192 are 32 times slower."""
    plain = llama.frequencies(llama.Rope(500000.0), 64)
    scaled = llama.frequencies(LLAMA_3, 64)
    waves = 2 * np.pi / plain
    np.testing.assert_allclose(scaled[waves < 2048], plain[waves < 2048], rtol=1e-6)
    slow = waves > 8192
    np.testing.assert_allclose(scaled[slow], plain[slow] / 32, rtol=1e-6)
    i = int(np.flatnonzero((waves > 2048) & (waves < 8192))[0])
    s = (8192 / waves[i] - 1) / 3
    want = (1 - s) * plain[i] / 32 + s * plain[i]
    np.testing.assert_allclose(scaled[i], want, rtol=1e-6)


def test_linear_frequencies_are_divided() -> None:
    plain = llama.frequencies(llama.Rope(100.0), 8)
    np.testing.assert_allclose(plain, [1, 100**-0.25, 0.1, 100**-0.75], rtol=1e-6)
    slower = llama.frequencies(llama.Rope(100.0, "linear", 4.0), 8)
    np.testing.assert_allclose(slower, plain / 4, rtol=1e-6)


@pytest.mark.parametrize("name", golden.quick(golden.DECODER_CASES, ["qwen3_tied"]))
def test_cached_decoding_is_the_full_forward_pass(name: str) -> None:
    b = golden.load(name)
    prompts, inputs, targets = golden.lane_batch(b)
    for prompt in (prompts[0], prompts[:2], prompts[0, :0]):
        golden.assert_cached_equals_full(b, prompt, inputs[0], targets[0])


@pytest.mark.parametrize(
    "name", ["qwen3_tied", pytest.param("llama_3_tied", marks=pytest.mark.slow)]
)
def test_a_row_is_the_same_alone_and_in_any_batch(name: str) -> None:
    golden.assert_rows_are_independent(golden.load(name))


@pytest.mark.slow
def test_a_lane_is_the_same_alone_and_among_others() -> None:
    golden.assert_lanes_are_independent(golden.load("qwen3_tied"))


def test_gradients_of_a_lanes_rows_are_summed_in_float32() -> None:
    """In bfloat16, 256 + 1 is 256: a sum of many ones would stop there."""
    prefix = (jnp.ones((1, 1, 2, 3, 2), jnp.bfloat16),) * 2
    rows = jnp.array([0] * 600 + [1] * 9)

    def total(prefix: llama.Stacked) -> jax.Array:
        key, value = llama.take(prefix, rows)
        assert key.dtype == value.dtype == jnp.bfloat16
        return jnp.sum(key.astype(jnp.float32) + value.astype(jnp.float32))

    for gradient in jax.grad(total)(prefix):
        np.testing.assert_array_equal(gradient[:, :, 0], 600)
        np.testing.assert_array_equal(gradient[:, :, 1], 9)


def test_targets_do_not_see_what_comes_after() -> None:
    golden.assert_causal(golden.load("llama_untied"))


def test_the_prompt_runs_once_and_not_once_per_row() -> None:
    """Twice the rows cost less than twice the operations by what the prompt costs."""
    b = golden.load("llama_untied")
    width = b.config.hidden_size
    prompt = jnp.zeros((50, width))
    tokens = jnp.ones((32, 4), jnp.int32)

    def flops(prompt: jax.Array) -> float:
        run = jax.jit(b.logits).lower(b.params, prompt, tokens, tokens).compile()
        return (run.cost_analysis() or {})["flops"]

    none, shared = flops(prompt[:0]), flops(prompt)
    per_row = flops(jnp.broadcast_to(prompt[None], (32, *prompt.shape)))
    assert (shared - none) < 0.25 * (per_row - none)


@pytest.mark.slow
def test_attention_dropout_needs_a_key_and_a_rate() -> None:
    b = golden.load("llama_untied")
    prompts, inputs, targets = golden.lane_batch(b)
    args = b.params, prompts[0], inputs[0], targets[0]
    key = jax.random.key(0)
    still = b.logits(*args)
    np.testing.assert_array_equal(b.logits(*args, key), still)
    config = dataclasses.replace(b.config, dropout_rate=0.5)
    dropping = backbone.build("", config, b.params, None, "")
    np.testing.assert_allclose(jax.jit(dropping.logits)(*args), still, rtol=1e-6)
    assert not np.allclose(jax.jit(dropping.logits)(*args, key), still)
