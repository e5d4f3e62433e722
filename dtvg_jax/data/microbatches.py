"""The rows of a step, of all lanes, sorted by length and cut into padded microbatches.

A row keeps its lane's number and a weight that makes sums over rows the sum over lanes
of each lane's own mean, so rows of short and long tasks are pooled without changing a
gradient. Microbatches have about as many tokens each: many short rows or few long ones.
Their shapes are few, chosen from the tables; each is a program to compile.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dtvg_jax.data import batches, mixtures
from dtvg_jax.data.mixtures import Mixture
from dtvg_jax.data.token_table import TokenTable

MOST_BUCKETS = 8  # and so programs of a step
MOST_MICROBATCHES = 16  # about; with more lanes each has more tokens
MULTIPLE = 8  # lengths are multiples of it, which fills vector units


class Stream(NamedTuple):
    """The rows of one lane: a table, or a mixture, in the order that a seed gives."""

    table: TokenTable | Mixture
    seed: int

    @property
    def shares(self) -> list[tuple[TokenTable, float]]:
        """Its tables, each with its share of the rows."""
        if isinstance(self.table, Mixture):
            return list(zip(self.table.tables, self.table.shares, strict=True))
        return [(self.table, 1.0)]

    def batch(
        self, step: int, batch_size: int
    ) -> list[tuple[TokenTable, Int[np.ndarray, " B"]]]:
        """Chooses the rows of a step, table by table."""
        if isinstance(self.table, Mixture):
            return mixtures.batch(self.table, self.seed, step, batch_size)
        rows = batches.batch_rows(self.table, self.seed, step, batch_size)
        return [(self.table, rows)]


class Bucket(NamedTuple):
    """The shape of a microbatch: padded lengths, and rows."""

    inputs: int
    targets: int
    rows: int


class Cut(NamedTuple):
    """How the rows of a step become microbatches; the shortest bucket is the first.

    `prompt_length` positions of each row come on top of its inputs.
    """

    buckets: tuple[Bucket, ...]
    prompt_length: int

    def cost(self, bucket: Bucket) -> int:
        """Counts the positions of a microbatch."""
        return bucket.rows * (bucket.inputs + self.prompt_length)


class Rows(NamedTuple):
    """A microbatch. Tokens are padded with -1 at the right."""

    inputs: Int[np.ndarray, "R T"]
    targets: Int[np.ndarray, "R L"]
    lanes: Int[np.ndarray, " R"]
    weights: Float[np.ndarray, " R"]  # 1 / target tokens of the lane; 0: a filler


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

    Rows that fill a microbatch are copies of one of its own, of weight 0.
    """
    if not running:
        return []
    pairs = [part for k in running for part in streams[k].batch(step, batch_size)]
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
    for bucket, order in deal(sizes, cut):
        filled = np.pad(order, (0, bucket.rows - len(order)), mode="edge")
        real = np.arange(bucket.rows) < len(order)
        made.append(
            Rows(
                _fit(inputs[filled], bucket.inputs),
                _fit(targets[filled], bucket.targets),
                lanes[filled],
                np.where(real, weights[filled], np.float32(0)),
            )
        )
    return made


def deal(
    sizes: Int[np.ndarray, " rows"], cut: Cut
) -> list[tuple[Bucket, Int[np.ndarray, " n"]]]:
    """Deals rows by their input lengths, longest first, into buckets.

    What is left over at the end goes where it costs least.
    """
    order = np.argsort(-sizes, kind="stable")
    dealt = []
    while len(order):
        fitting = [b for b in cut.buckets if b.inputs >= sizes[order[0]]]
        bucket = fitting[0]
        if len(order) < bucket.rows:
            bucket = min(fitting, key=lambda b: -(-len(order) // b.rows) * cut.cost(b))
        dealt.append((bucket, order[: bucket.rows]))
        order = order[bucket.rows :]
    return dealt


def choose(
    streams: Sequence[Stream],
    batch_size: int,
    tokens: int,
    prompt_length: int,
    devices: int = 1,
) -> Cut:
    """Chooses the shapes of a program's microbatches from its tables.

    A microbatch has at most about `tokens` positions, more where there would be too
    many of them, and a power of two times `devices` rows, but no more than a step
    has. Lengths are those that pad least; the longest holds any row.
    """
    shares = _shares(streams)
    lengths = np.arange(len(shares))
    each = float(shares @ lengths) + prompt_length
    rows = len(streams) * batch_size
    tokens = max(tokens, int(rows * each) // MOST_MICROBATCHES)
    whole = -(-rows // devices)
    buckets = []
    for edge in _edges(shares, prompt_length):
        fit = max(1, tokens // (edge + prompt_length) // devices)
        count = devices * min(whole, 2 ** (fit.bit_length() - 1))
        buckets.append(Bucket(edge, _longest_target(streams, edge), count))
    return Cut(tuple(buckets), prompt_length)


def padding(
    streams: Sequence[Stream], batch_size: int, cut: Cut, steps: int = 64
) -> Padding:
    """Counts the input tokens of the first steps as `cut` pads them."""
    positions = real = 0
    for step in range(steps):
        sizes = np.concatenate(
            [
                table.input_lengths[rows]
                for stream in streams
                for table, rows in stream.batch(step, batch_size)
            ]
        )
        real += int(sizes.sum())
        positions += sum(b.rows * b.inputs for b, _ in deal(sizes, cut))
    return Padding(positions, real)


def _shares(streams: Sequence[Stream]) -> Float[np.ndarray, " lengths"]:
    """Gives the share of each input length among a step's rows, in the long run."""
    parts = [part for stream in streams for part in stream.shares]
    count = 1 + max(int(table.input_lengths.max()) for table, _ in parts)
    each = [
        share * np.bincount(table.input_lengths, minlength=count) / len(table)
        for table, share in parts
    ]
    return np.sum(each, axis=0) / len(streams)


def _longest_target(streams: Sequence[Stream], edge: int) -> int:
    """Finds the longest target among the rows whose inputs are at most `edge` long."""
    found = [
        table.target_lengths[table.input_lengths <= edge].max(initial=1)
        for stream in streams
        for table, _ in stream.shares
    ]
    return int(max(found))


def _edges(
    shares: Float[np.ndarray, " lengths"], prompt_length: int
) -> tuple[int, ...]:
    """Chooses the lengths that pad least, at most MOST_BUCKETS; the last holds all.

    Dynamic programming over the lengths that occur: `least[j]` is the fewest positions
    per row of all rows up to length j where j is the last of so many edges.
    """
    up = -(-np.arange(len(shares)) // MULTIPLE) * MULTIPLE
    values, where = np.unique(np.maximum(up, MULTIPLE)[shares > 0], return_inverse=True)
    before = np.concatenate([[0], np.cumsum(np.bincount(where, shares[shares > 0]))])
    # cost[i, j]: of the rows of lengths i to j, padded to j
    cost = (before[None, 1:] - before[:-1, None]) * (values + prompt_length)
    cost = np.where(np.tri(len(values), k=-1), np.inf, cost)
    least, chosen = cost[0], [[j] for j in range(len(values))]
    best = (least[-1], chosen[-1])
    for _ in range(min(MOST_BUCKETS, len(values)) - 1):
        step = least[:-1, None] + cost[1:]
        last = np.argmin(step, axis=0)
        least = step[last, np.arange(len(values))]
        chosen = [[*chosen[last[j]], j] for j in range(len(values))]
        if least[-1] < best[0]:
            best = (least[-1], chosen[-1])
    return tuple(int(values[j]) for j in best[1])


def _fit(tokens: Int[np.ndarray, "R n"], length: int) -> Int[np.ndarray, "R length"]:
    """Truncates or pads columns, none of which holds a token beyond `length`."""
    kept = tokens[:, :length]
    short = length - kept.shape[1]
    return np.pad(kept, ((0, 0), (0, short)), constant_values=batches.PADDING)
