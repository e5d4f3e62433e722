"""Prompts on splits: greedy answers of many (prompt, split) pairs in one program."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dtvg_jax.data import batches
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.inference import decoding
from dtvg_jax.models.backbone import Backbone, token_log_probabilities
from dtvg_jax.shapes import Params
from dtvg_jax.training.placement import Placement

# Rows of a call come in blocks that share a prompt; this many blocks fill a call.
BLOCKS = 8

Prompts = Float[np.ndarray, "K P H"] | Float[Array, "K P H"]
Decode = Callable[[Params, Array, Array], Array]
Rank = Callable[[Params, Array, Array, Array], Array]
Call = Callable[[np.ndarray, Array, list[int]], Array]


class Pair(NamedTuple):
    """A prompt, by its place in an array of prompts, and what it is tried on."""

    prompt: int
    table: TokenTable


class Setup(NamedTuple):
    """What all blocks share.

    `batch_size` rows are a block, `lengths` the most tokens of an input and of an
    answer; `check` is called between batches and may raise to stop.
    """

    backbone: Backbone
    placement: Placement
    batch_size: int
    lengths: tuple[int, int]
    check: Callable[[], None] = lambda: None


def make_decode(backbone: Backbone, targets_length: int) -> Decode:
    """Builds decode(params, prompts [M, P, H], inputs [M, B, T]) -> [M, B, L]."""

    def decode(
        params: Params, prompts: Float[Array, "M P H"], inputs: Int[Array, "M B T"]
    ) -> Int[Array, "M B L"]:
        return decoding.greedy(backbone, params, prompts, inputs, targets_length)

    return jax.jit(decode)


def make_rank(backbone: Backbone) -> Rank:
    """Builds rank(params, prompts [M, P, H], inputs [M, B, T], labels [M, C, L]).

    It gives log p of each label, [M, B, C]: the sum over its tokens and the end.
    A label that is all padding gets -inf.
    """

    def one(
        params: Params,
        prompt: Float[Array, "P H"],
        inputs: Int[Array, "B T"],
        label: Int[Array, " L"],
    ) -> Float[Array, " B"]:
        targets = jnp.broadcast_to(label, (inputs.shape[0], label.size))
        logits = backbone.logits(params, prompt, inputs, targets, None)
        total = jnp.sum(token_log_probabilities(logits, targets), axis=-1)
        return jnp.where(jnp.any(label >= 0), total, -jnp.inf)

    labels = jax.vmap(one, in_axes=(None, None, None, 0), out_axes=-1)
    return jax.jit(jax.vmap(labels, in_axes=(None, 0, 0, 0)))


def predict(
    decode: Decode, setup: Setup, prompts: Prompts, pairs: Sequence[Pair]
) -> list[list[str]]:
    """Decodes every row of every pair's split; texts come in row order."""

    def call(prompts: np.ndarray, inputs: Array, numbers: list[int]) -> Array:
        del numbers
        return decode(setup.backbone.params, jnp.asarray(prompts), inputs)

    found = _over_blocks(call, setup, prompts, pairs)
    texts = [setup.backbone.vocabulary.decode(tokens.tolist()) for tokens in found]
    return [[text.strip() for text in answers] for answers in texts]


def rank(
    ranker: Rank,
    setup: Setup,
    prompts: Prompts,
    pairs: Sequence[Pair],
    labels: Sequence[Sequence[str]],
) -> list[Float[np.ndarray, "rows C"]]:
    """Scores every row of a pair's split with each of the pair's labels.

    log p(label) of the tokens with the end; the largest is the model's choice.
    """
    ids = _label_ids(setup, labels)

    def call(prompts: np.ndarray, inputs: Array, numbers: list[int]) -> Array:
        params = setup.backbone.params
        return ranker(params, jnp.asarray(prompts), inputs, jnp.asarray(ids[numbers]))

    found = _over_blocks(call, setup, prompts, pairs)
    return [
        scores[:, : len(texts)] for scores, texts in zip(found, labels, strict=True)
    ]


def _label_ids(
    setup: Setup, labels: Sequence[Sequence[str]]
) -> Int[np.ndarray, "pairs C L"]:
    vocabulary, length = setup.backbone.vocabulary, setup.lengths[1]
    shape = (len(labels), max(map(len, labels)), length)
    ids = np.full(shape, batches.PADDING, np.int32)
    for pair, texts in enumerate(labels):
        for c, tokens in enumerate(vocabulary.encode(list(texts))):
            tokens = [*tokens, vocabulary.eos_id][:length]
            ids[pair, c, : len(tokens)] = tokens
    return ids


def _over_blocks(
    call: Call, setup: Setup, prompts: Prompts, pairs: Sequence[Pair]
) -> list[np.ndarray]:
    """Deals the blocks of all pairs into calls of one shape; gives rows per pair.

    So splits of different sizes and prompts of many tasks waste little.
    """
    setup.placement.check_rows("evaluation_batch_size", setup.batch_size)
    prompts = np.asarray(prompts)
    work = [
        (number, rows)
        for number, pair in enumerate(pairs)
        for rows in batches.blocks(pair.table, None, setup.batch_size)
    ]
    found: list[list[np.ndarray]] = [[] for _ in pairs]
    for start in range(0, len(work), BLOCKS):
        setup.check()
        chunk = work[start : start + BLOCKS]
        nothing = np.full(setup.batch_size, batches.PADDING, np.int32)
        filled = chunk + [(chunk[0][0], nothing)] * (BLOCKS - len(chunk))
        numbers = [number for number, _ in filled]
        inputs = [
            batches.gather(pairs[number].table, rows, *setup.lengths)["inputs"]
            for number, rows in filled
        ]
        placed = jax.device_put(np.stack(inputs), setup.placement.blocks)
        chosen = prompts[[pairs[number].prompt for number in numbers]]
        out = np.asarray(call(chosen, placed, numbers))
        for (number, rows), values in zip(chunk, out, strict=False):
            found[number].append(values[rows != batches.PADDING])
    return [np.concatenate(values) for values in found]
