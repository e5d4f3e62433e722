"""The tiny backbones of tests/golden, as the tests use them."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _pytest.mark import ParameterSet

from dtvg_jax.formats import hugging_face
from dtvg_jax.formats.vocabularies import Vocabulary
from dtvg_jax.inference import decoding
from dtvg_jax.models import backbone

GOLDEN = pathlib.Path(__file__).parent / "golden"
T5_CASES = ("t5_v1_0", "t5_v1_1", "t5_v1_1_narrow", "t5_gated_silu", "umt5")
LLAMA_CASES = ("llama_3_tied", "llama_untied", "llama_biases_linear")
QWEN_CASES = ("qwen2_tied", "qwen2_untied", "qwen3_tied", "qwen3_untied")
DECODER_CASES = LLAMA_CASES + QWEN_CASES
CASES = T5_CASES + DECODER_CASES
# One of each form whose cache or positions differ; the rest is for the slow set.
QUICK = ("t5_v1_0", "umt5", "llama_3_tied", "qwen3_tied")
# A vocabulary without words.
WORDLESS = Vocabulary(60, -7, "", (), "", lambda texts: [], lambda rows: [])


@functools.cache
def load(name: str, eos_id: int = -7) -> backbone.Backbone:
    """Loads a tiny backbone; with the given end token id it never stops decoding."""
    opened = hugging_face.open_checkpoint(GOLDEN / name)
    words = dataclasses.replace(WORDLESS, eos_id=eos_id)
    params = opened.params("float32")
    b = backbone.build(name, opened.config, params, words, opened.digest())
    return jitted(b)


def jitted(b: backbone.Backbone) -> backbone.Backbone:
    return b._replace(
        logits=jax.jit(b.logits),
        prefill=jax.jit(b.prefill, static_argnums=3),
        decode=jax.jit(b.decode),
    )


@functools.cache
def greedy(name: str, eos_id: int = -7) -> Callable[..., decoding.Decoded]:
    """Compiles decoding: (prompt, inputs [B, T], length) -> tokens and scores."""
    b = load(name, eos_id)
    return jax.jit(
        lambda prompt, inputs, length: decoding.greedy(
            b, b.params, prompt, inputs, length
        ),
        static_argnums=2,
    )


@functools.cache
def values(name: str) -> dict[str, np.ndarray]:
    """Reads the golden values of a case, see golden/make.py."""
    with np.load(GOLDEN / name / "values.npz") as file:
        return dict(file)


def assert_close(got: jax.Array, want: np.ndarray, share: float = 1e-4) -> None:
    """Compares within a share of the largest value, which is how logits err."""
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=0, atol=share * np.abs(want).max())


def assert_cached_equals_full(
    b: backbone.Backbone, prompt: jax.Array, inputs: jax.Array, targets: jax.Array
) -> None:
    """Steps through the targets with the cache and compares with one full pass."""
    full = np.array(b.logits(b.params, prompt, inputs, targets))
    scores, cache = b.prefill(b.params, prompt, inputs, targets.shape[1])
    stepped = [scores]
    for i in range(targets.shape[1] - 1):
        scores, cache = b.decode(b.params, cache, targets[:, i])
        stepped.append(scores)
    real = np.array(targets >= 0)
    assert_close(jnp.stack(stepped, axis=1)[real], full[real], 1e-5)


def lane_batch(b: backbone.Backbone, lanes: int = 3) -> tuple[jax.Array, ...]:
    """Draws prompts [K, P, H], inputs [K, B, T] and targets [K, B, L] with padding."""
    vocabulary, width = b.embedding(b.params).shape
    keys = jax.random.split(jax.random.key(5), 3)
    prompts = jax.random.normal(keys[0], (lanes, 4, width))
    inputs = jax.random.randint(keys[1], (lanes, 2, 7), 2, vocabulary)
    targets = jax.random.randint(keys[2], (lanes, 2, 5), 2, vocabulary)
    inputs = inputs.at[:, 1, 4:].set(-1)
    return prompts, inputs, targets.at[:, 0, 3:].set(-1)


def assert_rows_are_independent(b: backbone.Backbone) -> None:
    """Other rows and padding at the right change nothing in a row."""
    prompts, inputs, targets = lane_batch(b)
    prompt, inputs, targets = prompts[0], inputs[0], targets[0]
    together = np.array(b.logits(b.params, prompt, inputs, targets))
    for i in range(2):
        row, target = inputs[i][inputs[i] >= 0], targets[i][targets[i] >= 0]
        alone = b.logits(b.params, prompt, row[None], target[None])[0]
        assert_close(alone, together[i, : len(target)], 1e-5)
    wider = jnp.pad(inputs, ((0, 0), (0, 9)), constant_values=-1)
    assert_close(b.logits(b.params, prompt, wider, targets), together, 1e-5)


def assert_lanes_are_independent(b: backbone.Backbone) -> None:
    """Loss and gradient of a lane are those it has alone, parameters unmapped."""

    def loss(prompt, inputs, targets):
        logits = b.logits(b.params, prompt, inputs, targets)
        return backbone.token_loss(logits, targets)

    lanes = lane_batch(b)
    losses, gradients = jax.jit(jax.vmap(jax.value_and_grad(loss)))(*lanes)
    for k in range(3):
        alone, gradient = jax.jit(jax.value_and_grad(loss))(*(x[k] for x in lanes))
        np.testing.assert_allclose(losses[k], alone, rtol=1e-5)
        # Float rounding, which these models' sharp attention multiplies.
        assert_close(gradients[k], np.array(gradient), 5e-5)
        assert np.all(np.any(np.array(gradient) != 0, axis=-1))


def assert_causal(b: backbone.Backbone) -> None:
    """The score of a target token depends on the prompt and the tokens before it."""
    prompts, inputs, targets = lane_batch(b)
    before = np.array(b.logits(b.params, prompts[0], inputs[0], targets[0]))
    changed = targets[0].at[:, 2].set((targets[0][:, 2] + 1) % 50)
    after = np.array(b.logits(b.params, prompts[0], inputs[0], changed))
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    assert np.all(np.any(after[:, 3:] != before[:, 3:], axis=(1, 2)))


def quick(cases: Sequence[str], among: Sequence[str] = QUICK) -> list[ParameterSet]:
    """Marks the cases as slow that are not among the quick ones."""
    return [
        pytest.param(name, marks=[] if name in among else pytest.mark.slow)
        for name in cases
    ]
