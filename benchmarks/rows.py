"""Token rows in a file that both sides of a comparison read."""

import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from dtvg_jax.data import batches
from dtvg_jax.data.catalogue import Scoring
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.data.token_table_files import TableMetadata

Ids = Sequence[Int[np.ndarray, " ids"]]


def of_steps(
    table: TokenTable, seed: int, steps: range, batch_size: int
) -> tuple[Ids, Ids]:
    """Lists the inputs and targets of a lane in some steps, in order."""
    chosen = [batches.batch_rows(table, seed, step, batch_size) for step in steps]
    return of_table(table, np.concatenate(chosen))


def of_table(table: TokenTable, rows: Int[np.ndarray, " rows"]) -> tuple[Ids, Ids]:
    """Lists the inputs and targets of rows of a table."""
    inputs = [_cut(table.inputs, table.input_offsets, row) for row in rows]
    targets = [_cut(table.targets, table.target_offsets, row) for row in rows]
    return inputs, targets


def of_one_length(rows: int, lengths: tuple[int, int], vocabulary: int) -> TokenTable:
    """Draws a table whose inputs, and whose targets, are all equally long."""
    random = np.random.default_rng(0)
    flat = [random.integers(3, vocabulary, rows * n, np.int32) for n in lengths]
    offsets = [np.arange(rows + 1) * n for n in lengths]
    metadata = TableMetadata(
        task="random",
        split="train",
        lengths=lengths,
        rows=rows,
        longest_input=lengths[0],
        longest_target=lengths[1],
        inputs_truncated=0,
        targets_truncated=0,
        targets_unreadable=0,
        split_digest="",
        files={},
        request={},
    )
    arrays = flat[0], offsets[0], flat[1], offsets[1]
    return TokenTable(*arrays, metadata, pathlib.Path(), Scoring(()))


def write(path: pathlib.Path, inputs: Ids, targets: Ids) -> None:
    """Writes rows as flat ids and offsets, as a token table has them."""
    np.savez(
        path,
        inputs=np.concatenate(inputs),
        input_offsets=np.cumsum([0, *map(len, inputs)]),
        targets=np.concatenate(targets),
        target_offsets=np.cumsum([0, *map(len, targets)]),
    )


def _cut(
    ids: Int[np.ndarray, " ids"], offsets: Int[np.ndarray, " offsets"], row: int
) -> Int[np.ndarray, " length"]:
    return np.asarray(ids[offsets[row] : offsets[row + 1]])
