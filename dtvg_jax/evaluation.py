"""Prompts on splits: greedy answers of many (prompt, split) pairs in one program."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from dtvg_jax import decoding, sharding
from dtvg_jax.backbones.backbone import Backbone
from dtvg_jax.data import batches
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.shapes import Params

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

    `check` is called between batches and may raise to stop. Blocks of all pairs are
    dealt into calls of one shape, so splits of different sizes waste little.
    """
    mesh = sharding.data_mesh()
    sharding.check_rows("evaluation_batch_size", batch_size, mesh)
    prompts = np.asarray(prompts)
    work = [
        (number, rows)
        for number, pair in enumerate(pairs)
        for rows in batches.blocks(pair.table, None, batch_size)
    ]
    ids: list[list[np.ndarray]] = [[] for _ in pairs]
    for start in range(0, len(work), BLOCKS):
        check()
        chunk = work[start : start + BLOCKS]
        filled = chunk + [(chunk[0][0], np.full(batch_size, batches.PADDING))] * (
            BLOCKS - len(chunk)
        )
        inputs = np.stack(
            [
                batches.gather(pairs[number].table, rows, *lengths)["inputs"]
                for number, rows in filled
            ]
        )
        chosen = prompts[[pairs[number].prompt for number, _ in filled]]
        inputs = jax.device_put(inputs, sharding.rows(mesh))
        out = np.asarray(decode(backbone.params, chosen, inputs))
        for (number, rows), tokens in zip(chunk, out, strict=False):
            ids[number].append(tokens[rows != batches.PADDING])
    return [
        [text.strip() for text in backbone.vocabulary.decode(_rows(blocks))]
        for blocks in ids
    ]


def _rows(blocks: list[np.ndarray]) -> list[list[int]]:
    return np.concatenate(blocks).tolist()
