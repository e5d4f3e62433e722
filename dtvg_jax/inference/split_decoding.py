"""Prompts on splits: greedy answers of many (prompt, split) pairs in one program."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dtvg_jax.data import batches
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.inference import decoding
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.shapes import Params
from dtvg_jax.training import placement

# Rows of a call come in blocks that share a prompt; this many blocks fill a call.
BLOCKS = 8

Decode = Callable[..., Array]


class Pair(NamedTuple):
    """A prompt, by its place in an array of prompts, and what it is tried on."""

    prompt: int
    table: TokenTable


def make_decode(backbone: Backbone, targets_length: int) -> Decode:
    """Builds decode(params, prompts [M, P, H], inputs [M, B, T]) -> [M, B, L]."""

    def decode(params: Params, prompts: Array, inputs: Array) -> Array:
        return decoding.greedy(backbone, params, prompts, inputs, targets_length)

    return jax.jit(decode)


def make_rank(backbone: Backbone) -> Decode:
    """Builds rank(params, prompts [M, P, H], inputs [M, B, T], labels [M, C, L]).

    It gives log p of each label, [M, B, C]: the sum over its tokens and the end.
    A label that is all padding gets -inf.
    """

    def one(params: Params, prompt: Array, inputs: Array, label: Array) -> Array:
        targets = jnp.broadcast_to(label, (inputs.shape[0], label.size))
        logits = backbone.logits(params, prompt, inputs, targets, None)
        chosen = jnp.maximum(targets, 0)[..., None]
        found = jnp.take_along_axis(jax.nn.log_softmax(logits), chosen, axis=-1)[..., 0]
        total = jnp.sum(found, axis=-1, where=targets >= 0)
        return jnp.where(jnp.any(label >= 0), total, -jnp.inf)

    labels = jax.vmap(one, in_axes=(None, None, None, 0), out_axes=-1)
    return jax.jit(jax.vmap(labels, in_axes=(None, 0, 0, 0)))


def predict(
    decode: Decode,
    backbone: Backbone,
    prompts: Float[Any, "K P H"],
    pairs: Sequence[Pair],
    *,
    batch_size: int,
    lengths: tuple[int, int],
    check: Callable[[], None] = lambda: None,
) -> list[list[str]]:
    """Decodes every row of every pair's split; texts come in row order.

    `check` is called between batches and may raise to stop.
    """
    found = _over_blocks(
        decode, backbone, prompts, pairs, batch_size, lengths, check, None
    )
    texts = [backbone.vocabulary.decode(tokens.tolist()) for tokens in found]
    return [[text.strip() for text in answers] for answers in texts]


def rank(
    ranker: Decode,
    backbone: Backbone,
    prompts: Float[Any, "K P H"],
    pairs: Sequence[Pair],
    labels: Sequence[Sequence[str]],
    *,
    batch_size: int,
    lengths: tuple[int, int],
    check: Callable[[], None] = lambda: None,
) -> list[np.ndarray]:
    """Scores every row of a pair's split with each of the pair's labels: [rows, C].

    log p(label) of the tokens with the end; the largest is the model's choice.
    """
    most = max(map(len, labels))
    ids = np.full((len(pairs), most, lengths[1]), batches.PADDING, np.int32)
    for pair, texts in enumerate(labels):
        for c, tokens in enumerate(backbone.vocabulary.encode(list(texts))):
            tokens = [*tokens, backbone.vocabulary.eos_id][: lengths[1]]
            ids[pair, c, : len(tokens)] = tokens
    found = _over_blocks(
        ranker, backbone, prompts, pairs, batch_size, lengths, check, ids
    )
    return [
        scores[:, : len(texts)] for scores, texts in zip(found, labels, strict=True)
    ]


def _over_blocks(
    call: Decode,
    backbone: Backbone,
    prompts: Float[Any, "K P H"],
    pairs: Sequence[Pair],
    batch_size: int,
    lengths: tuple[int, int],
    check: Callable[[], None],
    labels: np.ndarray | None,
) -> list[np.ndarray]:
    """Deals the blocks of all pairs into calls of one shape; gives rows per pair.

    So splits of different sizes and prompts of many tasks waste little.
    """
    mesh = placement.data_mesh()
    placement.check_rows("evaluation_batch_size", batch_size, mesh)
    prompts = np.asarray(prompts)
    work = [
        (number, rows)
        for number, pair in enumerate(pairs)
        for rows in batches.blocks(pair.table, None, batch_size)
    ]
    found: list[list[np.ndarray]] = [[] for _ in pairs]
    for start in range(0, len(work), BLOCKS):
        check()
        chunk = work[start : start + BLOCKS]
        nothing = np.full(batch_size, batches.PADDING, np.int32)
        filled = chunk + [(chunk[0][0], nothing)] * (BLOCKS - len(chunk))
        numbers = [number for number, _ in filled]
        inputs = np.stack(
            [
                batches.gather(pairs[number].table, rows, *lengths)["inputs"]
                for number, rows in filled
            ]
        )
        arguments = [
            prompts[[pairs[number].prompt for number in numbers]],
            jax.device_put(inputs, placement.rows(mesh)),
        ]
        if labels is not None:
            arguments.append(labels[numbers])
        out = np.asarray(call(backbone.params, *arguments))
        for (number, rows), values in zip(chunk, out, strict=False):
            found[number].append(values[rows != batches.PADDING])
    return [np.concatenate(values) for values in found]
