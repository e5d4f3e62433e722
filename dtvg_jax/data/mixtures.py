"""Tables mixed at rates: the rows of a step, a pure function of (seed, step).

The rows of each table come at equal distances, from a place that the seed draws, so
after any number of rows the shares are right to about a row of each table. The rows of
one table follow each other as in a lane of its own.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dtvg_jax.data import batches, catalogue, source
from dtvg_jax.data.token_table import TokenTable


class Mixture(NamedTuple):
    """Tables that a lane is trained on together, and the share of rows of each."""

    name: str
    tables: tuple[TokenTable, ...]
    shares: tuple[float, ...]  # their sum is 1


@functools.cache
def rates(name: str, tasks_module: str) -> Mapping[str, float | None]:
    """Gives the tasks of a mixture with their rates; None: in proportion to their rows.

    Raises InputError for a mixture that is neither the catalogue's nor of the module.
    """
    if found := catalogue.mixtures().get(name):
        return dict.fromkeys(found)
    return source.mixture_rates(name, tasks_module)


def mix(name: str, tasks_module: str, tables: Sequence[TokenTable]) -> Mixture:
    """Mixes the tables of a mixture's tasks, in their order."""
    known = rates(name, tasks_module).values()
    cap = catalogue.mixture_cap()
    of_rows = [min(len(table), cap) for table in tables]
    wanted = [one or rows for one, rows in zip(known, of_rows, strict=True)]
    return of_rates(name, tables, wanted)


def of_rates(
    name: str, tables: Sequence[TokenTable], rates: Sequence[float]
) -> Mixture:
    """Mixes tables by rates, whose sum is any."""
    total = sum(rates)
    return Mixture(name, tuple(tables), tuple(rate / total for rate in rates))


def batch(
    mixture: Mixture, seed: int, step: int, batch_size: int
) -> list[tuple[TokenTable, Int[np.ndarray, " B"]]]:
    """Chooses the rows of a step, table by table; `batch_size` is their sum."""
    before = drawn(mixture, seed, step * batch_size)
    counts = drawn(mixture, seed, (step + 1) * batch_size) - before
    return [
        (table, batches.next_rows(table, seed, int(first), int(count)))
        for table, first, count in zip(mixture.tables, before, counts, strict=True)
        if count
    ]


def drawn(mixture: Mixture, seed: int, rows: int) -> Int[np.ndarray, " tables"]:
    """Counts the rows of each table among the first `rows` of a mixture.

    Row k of a table with share r has its place at (k + phase) / r, and rows are drawn
    by place. Before the place `rows` less a row of each table, no more than `rows` are
    drawn: those are counted at once, and the few that are left one by one.
    """
    shares, phases = np.array(mixture.shares), _phases(mixture, seed)
    tables = len(shares)
    counts = np.ceil((rows - tables) * shares - phases).clip(0).astype(np.int64)
    candidates = counts[:, None] + np.arange(2 * tables)
    places = (candidates + phases[:, None]) / shares[:, None]
    nearest = np.argsort(places, axis=None, kind="stable")[: rows - counts.sum()]
    return counts + np.bincount(nearest // (2 * tables), minlength=tables)


def _phases(mixture: Mixture, seed: int) -> Float[np.ndarray, " tables"]:
    """Draws where the rows of each table begin, 0 to 1 of their distance."""
    name = hashlib.sha256(mixture.name.encode()).digest()
    words = [*np.frombuffer(name, "<u4").tolist(), seed]
    bits = np.random.MT19937(np.random.SeedSequence(words))
    return np.random.RandomState(bits).random_sample(len(mixture.tables))
