"""The rows of a step, of all lanes, sorted by length and cut into padded microbatches.

A row keeps its lane's number and a weight that makes sums over rows the sum over lanes
of each lane's own mean, so rows of short and long tasks are pooled without changing a
gradient. All microbatches have one number of rows and few lengths, chosen from the
tables: each length is a program to compile.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dtvg_jax.data import batches
from dtvg_jax.data.token_table import TokenTable

MOST_BUCKETS = 8  # and so programs of a step
MULTIPLE = 8  # of tokens; vector units are filled
SAMPLE = 64  # steps that show how long the longest row of a microbatch is


class Stream(NamedTuple):
    """The rows of one lane: a table in the order that a seed gives."""

    table: TokenTable
    seed: int


class Bucket(NamedTuple):
    """The padded lengths of a microbatch."""

    inputs: int
    targets: int


class Cut(NamedTuple):
    """How the rows of a step become microbatches; the shortest bucket is the first."""

    rows: int
    buckets: tuple[Bucket, ...]


class Rows(NamedTuple):
    """A microbatch. Tokens are padded with -1 at the right."""

    inputs: Int[np.ndarray, "R T"]
    targets: Int[np.ndarray, "R L"]
    lanes: Int[np.ndarray, " R"]
    weights: Float[np.ndarray, " R"]  # 1 / target tokens of the lane; 0: filling


class Padding(NamedTuple):
    """Input tokens over some steps: all positions, and those that hold a real token."""

    positions: int
    real: int


def make(
    streams: Sequence[Stream],
    running: Sequence[int],
    step: int,
    batch_size: int,
    cut: Cut,
) -> list[Rows]:
    """Makes the microbatches of a step from the batches of the lanes in `running`.

    The last rows to fill a microbatch are copies of the shortest one, of weight 0.
    """
    if not running:
        return []
    chosen = [
        batches.batch_rows(streams[k].table, streams[k].seed, step, batch_size)
        for k in running
    ]
    pairs = [(streams[k].table, rows) for k, rows in zip(running, chosen, strict=True)]
    sizes = np.concatenate([table.input_lengths[rows] for table, rows in pairs])
    counts = np.concatenate([table.target_lengths[rows] for table, rows in pairs])
    longest = int(sizes.max()), int(counts.max(initial=1))
    laid = [batches.gather(table, rows, *longest) for table, rows in pairs]
    inputs, targets = (
        np.concatenate([one[name] for one in laid]) for name in ("inputs", "targets")
    )
    totals = counts.reshape(len(running), batch_size).sum(axis=1)
    weights = np.repeat(1 / np.maximum(totals, 1), batch_size).astype(np.float32)
    lanes = np.repeat(np.asarray(running, np.int32), batch_size)
    made = []
    for order, real in _groups(sizes, cut.rows):
        length, targets_length = _bucket(cut, int(sizes[order].max()))
        made.append(
            Rows(
                _fit(inputs[order], length),
                _fit(targets[order], targets_length),
                lanes[order],
                np.where(real, weights[order], np.float32(0)),
            )
        )
    return made


def choose(
    streams: Sequence[Stream],
    batch_size: int,
    tokens: int,
    prompt_length: int,
    devices: int = 1,
) -> Cut:
    """Chooses rows and buckets of a program's microbatches from its tables.

    A microbatch has about `tokens` positions, `prompt_length` of each row included,
    and a multiple of `devices` rows. Buckets are those that waste least in the first
    steps; the longest holds any row.
    """
    total = len(streams) * batch_size
    mean = np.mean([s.table.input_lengths.mean() for s in streams])
    count = max(1, round(total * (prompt_length + mean) / tokens))
    rows = -(-total // min(count, total))
    rows = -(-rows // devices) * devices
    longest = max(s.table.input_lengths.max() for s in streams)
    maxima = [
        sizes[order].max()
        for sizes in _sampled(streams, batch_size)
        for order, _ in _groups(sizes, rows)
    ]
    edges = _edges(np.array(maxima), int(longest), prompt_length)
    return Cut(rows, tuple(Bucket(edge, _targets(streams, edge)) for edge in edges))


def padding(streams: Sequence[Stream], batch_size: int, cut: Cut) -> Padding:
    """Counts the input tokens of the first steps as `cut` pads them."""
    positions = real = 0
    for sizes in _sampled(streams, batch_size):
        real += int(sizes.sum())
        for order, _ in _groups(sizes, cut.rows):
            positions += cut.rows * _bucket(cut, int(sizes[order].max())).inputs
    return Padding(positions, real)


def _sampled(
    streams: Sequence[Stream], batch_size: int
) -> list[Int[np.ndarray, " rows"]]:
    """Gives the input lengths of all rows of each of the first steps."""
    return [
        np.concatenate(
            [
                s.table.input_lengths[
                    batches.batch_rows(s.table, s.seed, step, batch_size)
                ]
                for s in streams
            ]
        )
        for step in range(SAMPLE)
    ]


def _groups(
    sizes: Int[np.ndarray, " rows"], rows: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sorts rows by length into groups of `rows`, and marks those that are no filling.

    Filling goes where it costs least, to the group of the shortest rows.
    """
    order = np.argsort(sizes, kind="stable")
    filling = -len(sizes) % rows
    order = np.concatenate([np.repeat(order[:1], filling), order])
    real = np.arange(len(order)) >= filling
    return list(zip(order.reshape(-1, rows), real.reshape(-1, rows), strict=True))


def _bucket(cut: Cut, longest: int) -> Bucket:
    return next(bucket for bucket in cut.buckets if bucket.inputs >= longest)


def _targets(streams: Sequence[Stream], edge: int) -> int:
    """Finds the longest target among the rows whose inputs are at most `edge` long."""
    longest = [s.table.target_lengths[s.table.input_lengths <= edge] for s in streams]
    return int(max(sizes.max(initial=1) for sizes in longest))


def _edges(
    maxima: Int[np.ndarray, " n"], longest: int, prompt_length: int
) -> tuple[int, ...]:
    """Chooses the lengths that pad least, at most MOST_BUCKETS, the last >= `longest`.

    Dynamic programming over the lengths that occur: `least[j]` is the fewest positions
    of all microbatches up to length j where j is the last of so many edges.
    """
    up = -(-np.append(maxima, longest) // MULTIPLE) * MULTIPLE
    values, where = np.unique(up, return_inverse=True)
    counts = np.bincount(where[:-1], minlength=len(values))
    before = np.concatenate([[0], np.cumsum(counts)])
    # cost[i, j]: of the microbatches longer than value i - 1, at most j, padded to j
    cost = (before[None, 1:] - before[:-1, None]) * (values + prompt_length)
    cost = np.where(np.tri(len(values), k=-1), np.inf, cost)
    least, chosen = cost[0], [[j] for j in range(len(values))]
    best = (least[-1], chosen[-1])
    for _ in range(min(MOST_BUCKETS, len(values)) - 1):
        step = least[:-1, None] + cost[1:]
        last = np.argmin(step, axis=0)
        least = np.concatenate([[np.inf], step[last, np.arange(len(values))][1:]])
        chosen = [[*chosen[last[j]], j] for j in range(len(values))]
        if least[-1] < best[0]:
            best = (least[-1], chosen[-1])
    return tuple(int(values[j]) for j in best[1])


def _fit(tokens: Int[np.ndarray, "R n"], length: int) -> Int[np.ndarray, "R length"]:
    """Truncates or pads columns, none of which holds a token beyond `length`."""
    kept = tokens[:, :length]
    short = length - kept.shape[1]
    return np.pad(kept, ((0, 0), (0, short)), constant_values=batches.PADDING)
