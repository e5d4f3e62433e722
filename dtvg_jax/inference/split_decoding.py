"""Prompts on splits: answers of many (prompt, split) pairs, rows pooled."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from dtvg_jax.data import batches
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.inference import blocks, decoding, ranking
from dtvg_jax.inference.blocks import Block
from dtvg_jax.inference.decoding import Prompt
from dtvg_jax.inference.ranking import Rank
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.models import sharding
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.shapes import Params
from dtvg_jax.training.placement import Placement

Decode = Callable[[Params, Prompt, Array, int], Array]
Call = Callable[[Prompt, Array, np.ndarray], Array]


class Pair(NamedTuple):
    """A prompt, by its place among others, and what it is tried on."""

    prompt: int
    table: TokenTable


class Setup(NamedTuple):
    """What all blocks share.

    `batch_size` rows are a block where they are of full length, shorter ones are more;
    `check` is called between blocks and may raise to stop.
    """

    backbone: Backbone
    placement: Placement
    batch_size: int
    check: Callable[[], None] = lambda: None


def make_decode(backbone: Backbone) -> Decode:
    """Builds decode(params, prompt, inputs [B, T], L) -> [B, L]."""

    def decode(
        params: Params,
        prompt: Prompt,
        inputs: Int[Array, "B T"],
        length: int,
    ) -> Int[Array, "B {length}"]:
        return decoding.greedy(backbone, params, prompt, inputs, length).tokens

    return jax.jit(decode, static_argnums=3)


def predict(
    decode: Decode, setup: Setup, prompts: Prompts, pairs: Sequence[Pair]
) -> list[list[str]]:
    """Decodes every row of every pair's split; texts come in row order."""

    def call(prompt: Prompt, inputs: Array, numbers: np.ndarray) -> Array:
        length = pairs[numbers[0]].table.lengths[1]
        return decode(setup.backbone.params, prompt, inputs, length)

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
    ids = ranking.label_ids(setup.backbone.vocabulary, labels)

    def call(prompt: Prompt, inputs: Array, numbers: np.ndarray) -> Array:
        targets = setup.placement.put_rows(ids[numbers])
        return ranker(setup.backbone.params, prompt, inputs, targets)

    found = _over_blocks(call, setup, prompts, pairs)
    return [
        scores[:, : len(texts)] for scores, texts in zip(found, labels, strict=True)
    ]


def _over_blocks(
    call: Call, setup: Setup, prompts: Prompts, pairs: Sequence[Pair]
) -> list[np.ndarray]:
    """Calls on the blocks of all pairs' rows; gives rows per pair, in row order.

    A block is laid out and started while the one before it runs.
    """
    place = setup.placement
    placed = prompts._replace(arrays=place.put_whole(prompts.arrays))
    planned = _blocks(setup, prompts, pairs)
    found: list[np.ndarray] = []
    running: list[Array] = []
    for block in planned:
        setup.check()
        inputs = place.put_rows(_inputs(block, pairs))
        prompt = _prompt(block, setup, placed, pairs)
        made = call(prompt, inputs, block.pairs)
        running.append(sharding.settled(made, place.mesh))
        found.extend(place.fetch(running.pop(0)) for _ in running[1:])
    found.extend(place.fetch(values) for values in running)
    return _by_pair(planned, found, pairs)


def _blocks(setup: Setup, prompts: Prompts, pairs: Sequence[Pair]) -> list[Block]:
    """Plans blocks over the pairs whose answers may be equally long.

    For a decoder-only model they are those of one prompt, too: the rows of a block then
    share the keys and values of their prompt. So are those of a prompt that is made for
    each row: what it is made of is then there once.
    """
    limits = blocks.Limits(
        rows=setup.placement.filled(setup.batch_size),
        devices=setup.placement.row_parts,
        bound=max(pair.table.lengths[0] for pair in pairs),
        prompt_length=prompts.arrays.shape[1],
        bytes=setup.placement.block_bytes,
    )
    groups: dict[tuple[int, int], dict[int, TokenTable]] = {}
    for number, pair in enumerate(pairs):
        apart = setup.backbone.decoder_only or pair.prompt in prompts.looking
        prompt = pair.prompt if apart else -1
        groups.setdefault((prompt, pair.table.lengths[1]), {})[number] = pair.table
    return blocks.plan(list(groups.values()), setup.backbone.config, limits)


def _inputs(block: Block, pairs: Sequence[Pair]) -> Int[np.ndarray, "B T"]:
    inputs = np.full((len(block.rows), block.length), batches.PADDING, np.int32)
    for number in np.unique(block.pairs):
        mine = block.pairs == number
        table = pairs[number].table
        # Targets are laid out too, however long: answers may be shorter.
        lengths = block.length, table.metadata.longest_target
        inputs[mine] = batches.gather(table, block.rows[mine], *lengths)["inputs"]
    return inputs


def _prompt(
    block: Block, setup: Setup, prompts: Prompts, pairs: Sequence[Pair]
) -> Prompt:
    """Picks a block's prompts on the device."""
    arrays = cast(Array, prompts.arrays)
    first = pairs[block.pairs[0]].prompt
    if first in prompts.looking:
        return setup.placement.put_whole(prompts.looking[first])
    if setup.backbone.decoder_only:
        return arrays[first]
    return arrays[np.array([pairs[number].prompt for number in block.pairs])]


def _by_pair(
    planned: Sequence[Block], found: Sequence[np.ndarray], pairs: Sequence[Pair]
) -> list[np.ndarray]:
    """Sorts the rows of all blocks by pair and row, without those that only fill."""
    numbers = np.concatenate([block.pairs for block in planned])
    rows = np.concatenate([block.rows for block in planned])
    widest = max(values.shape[1] for values in found)
    values = np.concatenate(
        [
            np.pad(one, ((0, 0), (0, widest - one.shape[1])), constant_values=-1)
            for one in found
        ]
    )
    order = np.lexsort((rows, numbers))
    order = order[rows[order] != batches.PADDING]
    ends = np.cumsum([len(pair.table) for pair in pairs])[:-1]
    return np.split(values[order], ends)
