"""T5 by its properties; its numbers are held against torch in test_hugging_face."""

import golden_backbones as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax.models import backbone, layers, relative_positions, t5

# By hand from the rule: half of the buckets exact, the others logarithmic up to the
# longest distance.  With 8 buckets up to distance 16 and both directions, 4 a side:
# 0, 1 exact, then 2 + 2 log(d / 2) / log(8).
BOTH = {0: 0, -1: 1, -2: 2, -5: 2, -6: 3, -99: 3, 1: 5, 2: 6, 5: 6, 6: 7, 99: 7}
# One direction: 0 to 3 exact, then 4 + 4 log(d / 4) / log(4): 6 and 8 double it twice.
BEFORE = {0: 0, 1: 0, 50: 0, -3: 3, -4: 4, -5: 4, -6: 5, -8: 6, -11: 6, -12: 7, -99: 7}


@pytest.mark.parametrize(("both", "table"), [(True, BOTH), (False, BEFORE)])
def test_buckets_by_hand(both: bool, table: dict[int, int]) -> None:
    grid = relative_positions.buckets(100, 100, both=both, count=8, longest=16)
    got = {d: int(grid[max(0, -d), max(0, d)]) for d in table}
    assert got == table


@pytest.mark.parametrize("name", golden.quick(golden.T5_CASES))
def test_cached_decoding_is_the_full_forward_pass(name: str) -> None:
    b = golden.load(name)
    prompts, inputs, targets = golden.lane_batch(b)
    for prompt in (prompts[0], prompts[:2], prompts[0, :0]):
        golden.assert_cached_equals_full(b, prompt, inputs[0], targets[0])


def test_a_row_is_the_same_alone_and_in_any_batch() -> None:
    golden.assert_rows_are_independent(golden.load("t5_v1_0"))


@pytest.mark.slow
def test_a_lane_is_the_same_alone_and_among_others() -> None:
    golden.assert_lanes_are_independent(golden.load("t5_v1_1"))


def test_targets_do_not_see_what_comes_after() -> None:
    golden.assert_causal(golden.load("t5_v1_1"))


def test_a_tied_embedding_gets_gradients_from_both_ends() -> None:
    b = golden.load("t5_v1_0")
    prompts, inputs, targets = golden.lane_batch(b)

    @jax.jit
    @jax.grad
    def gradient(params):
        logits = b.logits(params, prompts[0, :0], inputs[0], targets[0])
        return backbone.token_loss(logits, targets[0])

    grads = gradient(b.params)
    assert jax.tree.structure(grads) == jax.tree.structure(b.params)
    assert all(jnp.any(g != 0) for g in jax.tree.leaves(grads))
    unseen = np.setdiff1d(np.arange(60), np.concatenate([inputs[0], targets[0]], 1))
    assert np.all(np.any(grads["token_embedder"]["embedding"][unseen] != 0, axis=1))


@pytest.mark.slow
def test_dropout_is_off_without_a_key_and_differs_by_key() -> None:
    b = golden.load("t5_v1_1")
    prompts, inputs, targets = golden.lane_batch(b)
    keys = jax.random.split(jax.random.key(0), 2)

    def logits(key):
        return np.array(b.logits(b.params, prompts[0], inputs[0], targets[0], key))

    np.testing.assert_array_equal(logits(None), logits(None))
    np.testing.assert_array_equal(logits(keys[0]), logits(keys[0]))
    assert not np.allclose(logits(keys[0]), logits(keys[1]))
    assert not np.allclose(logits(keys[0]), logits(None))


@pytest.mark.parametrize("shape", [(400, 251), (2, 3, 5, 40, 200)])
def test_dropout_masks_drop_the_rate_evenly(shape: tuple[int, ...]) -> None:
    keep = np.array(layers.dropout_mask(jax.random.key(1), 0.1, shape))
    assert keep.shape == shape
    # Six standard errors of a share of 0.9, over all and for the even columns.
    for part in (keep, keep[..., ::2], keep[..., 1::2]):
        assert abs(part.mean() - 0.9) < 6 * np.sqrt(0.09 / part.size)
    # Neighbours come from one random word; they must not go together.
    pairs = keep[..., 0:-1:2] & keep[..., 1::2][..., : keep[..., 0:-1:2].shape[-1]]
    assert abs(pairs.mean() - 0.81) < 6 * np.sqrt(0.81 * 0.19 / pairs.size)


def test_loss_is_the_mean_over_real_tokens() -> None:
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]] * 2))
    targets = jnp.array([[0, 2], [1, -1]])
    want = -(np.log(0.5) + np.log(0.8) + np.log(0.25)) / 3
    np.testing.assert_allclose(backbone.token_loss(logits, targets), want, rtol=1e-6)
    assert backbone.token_loss(logits, jnp.full((2, 2), -1)) == 0.0


def test_log_probabilities_are_those_of_the_targets() -> None:
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]] * 2)) + 7.0
    got = backbone.token_log_probabilities(logits, jnp.array([[0, 2], [1, -1]]))
    want = [[np.log(0.5), np.log(0.8)], [np.log(0.25), 0.0]]
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        # Parameters of the published models: 60.5, 222.9 and 77.0 million.
        (t5.T5Config(32128, 512, 64, 8, 2048, 6, 6, ("relu",), True), 60_506_624),
        (t5.T5Config(32128, 768, 64, 12, 3072, 12, 12, ("relu",), True), 222_903_552),
        (t5.T5Config(32128, 512, 64, 6, 1024, 8, 8), 76_961_152),
    ],
)
def test_published_sizes(config: t5.T5Config, count: int) -> None:
    tree = jax.eval_shape(lambda: backbone.init_params(config, jax.random.key(0)))
    assert sum(x.size for x in jax.tree.leaves(tree)) == count
