"""Batches as pure functions of (table, seed, step): resuming needs no reader's state.

The rows of an epoch come in the order of a permutation that only the task's name, the
split, the seed and the epoch decide, so a lane's data do not depend on its neighbours.
"""

import collections
import functools
import hashlib
import itertools
from collections.abc import Callable, Generator
from concurrent import futures
from typing import TypeVar

import jax
import numpy as np
from jaxtyping import Int

from dtvg_jax.data.token_table import TokenTable

PADDING = -1  # in every vocabulary; 0 is a real id in some

Batch = dict[str, np.ndarray]
Made = TypeVar("Made")
Put = TypeVar("Put")


@functools.lru_cache(maxsize=256)
def row_order(
    n: int, task: str, split: str, seed: int, epoch: int
) -> Int[np.ndarray, " n"]:
    """Permutes the n rows of a split for one epoch, read only."""
    name = hashlib.sha256(f"{task}\0{split}".encode()).digest()
    words = [*np.frombuffer(name, "<u4").tolist(), seed, epoch]
    bits = np.random.MT19937(np.random.SeedSequence(words))
    # NumPy promises never to change what RandomState draws, unlike its Generator
    order = np.random.RandomState(bits).permutation(n).astype(np.int32)
    order.flags.writeable = False
    return order


def batch_rows(
    table: TokenTable, seed: int, step: int, batch_size: int
) -> Int[np.ndarray, " B"]:
    """Chooses the rows of one step; epochs follow each other without a gap."""
    return next_rows(table, seed, step * batch_size, batch_size)


def next_rows(
    table: TokenTable, seed: int, drawn: int, count: int
) -> Int[np.ndarray, " B"]:
    """Chooses the next `count` rows of a table, of which `drawn` were taken before."""
    epochs, places = np.divmod(np.arange(drawn, drawn + count), len(table))
    rows = np.empty(count, np.int32)
    for epoch in np.unique(epochs).tolist():
        order = row_order(len(table), table.name, table.split, seed, epoch)
        rows[epochs == epoch] = order[places[epochs == epoch]]
    return rows


def gather(
    table: TokenTable, rows: Int[np.ndarray, " B"], length: int, targets_length: int
) -> Batch:
    """Lays rows out as {"inputs": int32 [B, T], "targets": int32 [B, L]}.

    Short rows are padded with -1 at the right; row number -1 gives only padding.

    Raises:
      ValueError: where a row is longer than T or L.
    """
    return {
        "inputs": _lay_out(table.inputs, table.input_offsets, rows, length),
        "targets": _lay_out(table.targets, table.target_offsets, rows, targets_length),
    }


def prefetch(
    make: Callable[[int], Made],
    start: int,
    stop: int,
    depth: int = 2,
    put: Callable[[Made], Put] = jax.device_put,
) -> Generator[Put]:
    """Yields put(make(step)) for start <= step < stop, made ahead by a thread.

    At most `depth` batches wait. What `make` raises is raised here, at its step.
    Close the iterator (contextlib.closing) where it may not be read to its end: that
    ends the thread.
    """
    steps = iter(range(start, stop))
    with futures.ThreadPoolExecutor(1, "batches") as pool:
        ahead = collections.deque(
            pool.submit(lambda step: put(make(step)), step)
            for step in itertools.islice(steps, depth)
        )
        try:
            while ahead:
                batch = ahead.popleft().result()
                for step in itertools.islice(steps, 1):
                    ahead.append(pool.submit(lambda step: put(make(step)), step))
                yield batch
        finally:
            for waiting in ahead:
                waiting.cancel()


def _lay_out(
    ids: Int[np.ndarray, " ids"],
    offsets: Int[np.ndarray, " offsets"],
    rows: Int[np.ndarray, " B"],
    length: int,
) -> Int[np.ndarray, "B length"]:
    starts = offsets[rows]
    sizes = np.where(rows == PADDING, 0, offsets[rows + 1] - starts)
    if sizes.max() > length:
        raise ValueError(
            f"row {rows[sizes.argmax()]} has {sizes.max()} ids and does not fit into "
            f"{length}: make the token table with that length"
        )
    columns = np.arange(length)
    real = columns < sizes[:, None]
    places = np.where(real, starts[:, None] + columns, 0)
    return np.where(real, ids[places], np.int32(PADDING))
