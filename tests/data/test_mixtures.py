"""Mixtures: rows in the stated shares, in each table's order, pure in the step."""

import fake_table
import numpy as np
import pytest

from dtvg_jax.data import batches, microbatches, mixtures
from dtvg_jax.data.microbatches import Stream


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return [
        fake_table.make(folder / task, fake_table.rows(rows), task=task)
        for task, rows in (("large", 600), ("small", 30), ("middle", 150))
    ]


def capped(tables, cap):
    return mixtures.of_rates("all", tables, [min(len(t), cap) for t in tables])


# Of 600, 30 and 150 rows, by hand: 400 : 30 : 150 with the cap, of 580.
@pytest.mark.parametrize(
    "cap, shares",
    [
        (10_000, (600 / 780, 30 / 780, 150 / 780)),
        (400, (400 / 580, 30 / 580, 150 / 580)),
        (30, (1 / 3, 1 / 3, 1 / 3)),
    ],
)
@pytest.mark.parametrize("batch_size", [16, 125])
def test_ten_thousand_rows_are_drawn_in_the_stated_shares(
    tables, cap, shares, batch_size
):
    mixture = capped(tables, cap)
    steps = 10_000 // batch_size
    counts = dict.fromkeys(("large", "small", "middle"), 0)
    for step in range(steps):
        for table, rows in mixtures.batch(mixture, 42, step, batch_size):
            counts[table.name] += len(rows)
    rows = steps * batch_size
    assert sum(counts.values()) == rows
    for count, share in zip(counts.values(), shares, strict=True):
        assert abs(count - share * rows) < 2


def test_each_table_is_drawn_in_its_own_order(tables):
    """As by a lane of its own: every epoch whole before the next begins."""
    mixture = capped(tables, 100)
    drawn = {table.name: [] for table in tables}
    for step in range(50):
        for table, rows in mixtures.batch(mixture, 3, step, 16):
            drawn[table.name].extend(rows.tolist())
    for table in tables:
        own = batches.next_rows(table, 3, 0, len(drawn[table.name]))
        assert drawn[table.name] == own.tolist()
    assert sorted(drawn["small"][:30]) == list(range(30))


def test_a_step_depends_on_nothing_before_it(tables):
    mixture = capped(tables, 100)
    again = capped(tables, 100)
    cold = mixtures.batch(again, 0, 199, 8)
    for step in range(200):
        warm = mixtures.batch(mixture, 0, step, 8)
    for (table, rows), (other, same) in zip(warm, cold, strict=True):
        assert table is other and rows.tolist() == same.tolist()
    other_seed = [mixtures.drawn(mixture, seed, 5).tolist() for seed in range(20)]
    assert len({tuple(counts) for counts in other_seed}) > 1


@pytest.mark.parametrize("shares", [(1.0,), (0.9999, 0.0001), tuple([1 / 26] * 26)])
def test_counts_never_go_back(tables, shares):
    mixture = mixtures.of_rates("any", [tables[0]] * len(shares), shares)
    counts = np.array([mixtures.drawn(mixture, 1, rows) for rows in range(500)])
    assert (np.diff(counts, axis=0) >= 0).all()
    assert (counts.sum(axis=1) == np.arange(500)).all()


def test_microbatches_of_a_mixture_have_the_rows_of_its_tables(tables):
    mixture = capped(tables, 100)
    streams = [Stream(mixture, 5), Stream(tables[1], 6)]
    cut = microbatches.choose(streams, 8, 64, 4)
    made = microbatches.make(streams, [0, 1], 3, 8, cut)
    real = [
        (rows.lanes[i], rows.inputs[i][rows.inputs[i] >= 0].tolist())
        for rows in made
        for i in np.flatnonzero(rows.weights)
    ]
    expected = [
        (lane, table.inputs[slice(*table.input_offsets[row : row + 2])].tolist())
        for lane, stream in enumerate(streams)
        for table, chosen in stream.batch(3, 8)
        for row in chosen
    ]
    assert sorted(real) == sorted(expected) and len(real) == 16
    weights = [
        sum(
            r.weights[(r.lanes == k)] @ (r.targets[r.lanes == k] >= 0).sum(1)
            for r in made
        )
        for k in (0, 1)
    ]
    assert weights == pytest.approx([1, 1])  # a lane's mean over its target tokens
    padding = microbatches.padding(streams, 8, cut, steps=4)
    assert 0 < padding.real <= padding.positions
