"""Blocks of rows that are decoded at once: of like length, in a few shapes.

The rows of a group are sorted by length and cut from the longest on, so that all blocks
but its last, of its shortest rows, are full.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from dtvg_jax.data import batches
from dtvg_jax.data.buckets import bucket
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.models.backbone import Config

# A block of short rows has up to 8 times the rows of one of the longest.
MOST_DOUBLINGS = 3
# A block may take so much even where `rows` of the longest take less.
LEAST_BUDGET = 1 << 28


class Block(NamedTuple):
    """Rows of one length; `rows` is -1 where there is none, to fill the block."""

    pairs: Int[np.ndarray, " B"]  # the number of each row's pair
    rows: Int[np.ndarray, " B"]
    length: int


class Limits(NamedTuple):
    """How large blocks are.

    rows: of a block of the longest rows
    devices: the rows of every block are a multiple of it
    bound: the most tokens of an input
    prompt_length: of the rows that stand before them
    bytes: that a block may take, where more would not be faster; None: no bound
    """

    rows: int
    devices: int
    bound: int
    prompt_length: int
    bytes: int | None


def plan(
    groups: Sequence[Mapping[int, TokenTable]], config: Config, limits: Limits
) -> list[Block]:
    """Cuts the rows of tables, each by its pair's number, into blocks of one group.

    Blocks of one length have one shape: those of the fullest of them.
    """
    cut = [block for group in groups for block in _cut(group, config, limits)]
    fullest: dict[int, int] = {}
    for block in cut:
        most = max(fullest.get(block.length, 0), len(block.rows))
        fullest[block.length] = most
    counts = {
        length: _shrunk(rows_at_once(config, limits, length), most, limits.devices)
        for length, most in fullest.items()
    }
    return [_filled(block, counts[block.length]) for block in cut]


def _cut(
    tables: Mapping[int, TokenTable], config: Config, limits: Limits
) -> Iterator[Block]:
    """Sorts the rows of tables by length and cuts from the longest on."""
    sizes = [np.diff(table.input_offsets) for table in tables.values()]
    lengths = np.concatenate(sizes)
    pairs = np.repeat(list(tables), [len(size) for size in sizes])
    rows = np.concatenate([np.arange(len(size)) for size in sizes])
    order = np.argsort(-lengths, kind="stable")
    while order.size:
        length = bucket(int(lengths[order[0]]), limits.bound)
        mine, order = np.split(order, [rows_at_once(config, limits, length)])
        yield Block(pairs[mine], rows[mine], length)


def _filled(block: Block, count: int) -> Block:
    filling = (0, count - len(block.rows))
    return block._replace(
        pairs=np.pad(block.pairs, filling, mode="edge"),
        rows=np.pad(block.rows, filling, constant_values=batches.PADDING),
    )


def rows_at_once(config: Config, limits: Limits, length: int) -> int:
    """Doubles the rows of a block while they take no more than the longest rows do.

    Halves them where they take more than `limits.bytes`.
    """
    budget = limits.rows * _row_bytes(config, limits.prompt_length + limits.bound)
    budget = max(budget, LEAST_BUDGET)
    each = _row_bytes(config, limits.prompt_length + length)
    doublings = (budget // (limits.rows * each)).bit_length() - 1
    rows = limits.rows << min(max(doublings, 0), MOST_DOUBLINGS)
    most = math.inf if limits.bytes is None else limits.bytes / each
    while rows > most and rows % (2 * limits.devices) == 0:
        rows //= 2
    return rows


def _row_bytes(config: Config, length: int) -> int:
    """Estimates what decoding a row takes: scores of a layer, hidden states, cache."""
    scores = 2 * config.num_attention_heads * length**2
    hidden = (8 + 2 * config.num_hidden_layers) * config.hidden_size * length
    return 4 * (scores + hidden)


def _shrunk(count: int, needed: int, devices: int) -> int:
    """Halves a block while its rows fit and spread over the devices."""
    while count % (2 * devices) == 0 and count // 2 >= needed:
        count //= 2
    return count
