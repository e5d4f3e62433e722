"""Greedy decoding: with scripted scores by hand, and with tiny backbones."""

from types import SimpleNamespace

import golden_backbones as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax.inference import decoding
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
    return Backbone(
        "", "t5", None, vocabulary, {}, "", nothing, prefill, decode, nothing
    )


@pytest.mark.parametrize(
    ("first", "want", "steps"),
    [
        ([[3, 2]], [[[3, 2, 1, -1, -1], [2, 1, -1, -1, -1]]], 2),
        ([[8, 2]], [[[8, 7, 6, 5, 4], [2, 1, -1, -1, -1]]], 4),
        ([[1, 1]], [[[1, -1, -1, -1, -1]] * 2], 0),
        ([[2, 1], [4, 1]], [[[2, 1, -1, -1, -1], [1, -1, -1, -1, -1]],
                            [[4, 3, 2, 1, -1], [1, -1, -1, -1, -1]]], 3),
        # A row of padding only fills a batch and holds nobody up.
        ([[2, -1]], [[[2, 1, -1, -1, -1], [-1] * 5]], 1),
    ],
)  # fmt: skip
def test_scripted_scores(first: list, want: list, steps: int) -> None:
    calls: list[int] = []
    inputs = jnp.array(first, jnp.int32)[..., None]
    prompts = jnp.zeros((len(first), 1, 2))
    got = decoding.greedy(_scripted(calls), {}, prompts, inputs, 5)
    jax.effects_barrier()
    np.testing.assert_array_equal(got, want)
    assert got.dtype == jnp.int32
    # The callback runs once per step, whatever the lanes.
    assert len(calls) == steps


@pytest.mark.parametrize("name", ["t5_v1_1_narrow", "llama_3_tied"])
def test_a_lane_alone_and_among_others_decodes_the_same(name: str) -> None:
    prompts, inputs, _ = golden.lane_batch(golden.load(name))
    together = np.array(golden.greedy(name)(prompts, inputs, 6))
    assert len({row.tobytes() for row in together.reshape(-1, 6)}) > 3
    for k in range(3):
        alone = golden.greedy(name)(prompts[k : k + 1], inputs[k : k + 1], 6)
        np.testing.assert_array_equal(alone[0], together[k])


@pytest.mark.parametrize("name", ["t5_v1_1", "llama_untied"])
def test_the_end_token_stops_its_row_only(name: str) -> None:
    v = golden.values(name)
    eos = int(v["greedy"][0, 2])
    got = golden.greedy(name, eos)(v["prompt"][None], v["inputs"][None], 8)[0]
    want = v["greedy"].copy()
    for row in want:
        if eos in row:
            row[list(row).index(eos) + 1 :] = -1
    assert -1 in want[0] and want.max() >= 0
    np.testing.assert_array_equal(got, want)


def test_one_token_is_the_prefill_alone() -> None:
    v = golden.values("t5_v1_1")
    got = golden.greedy("t5_v1_1")(v["prompt"][None], v["inputs"][None], 1)
    np.testing.assert_array_equal(got[0], v["greedy"][:, :1])
