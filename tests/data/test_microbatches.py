"""Microbatches: every row once, sorted, of its lane's weight, in few lengths."""

import itertools

import fake_table
import numpy as np
import pytest

from dtvg_jax.data import batches, microbatches, tokenise
from dtvg_jax.data.microbatches import Bucket, Cut, Stream


def text(inputs: int, targets: int) -> tokenise.TextRow:
    """A row of so many ids, the end among them."""
    return tokenise.TextRow("a" * (inputs - 1), "b" * (targets - 1), "")


@pytest.fixture(scope="module")
def streams(tmp_path_factory) -> list[Stream]:
    """Short inputs with targets of 2, long ones with targets of 2 to 5."""
    folder = tmp_path_factory.mktemp("tables")
    short = [text(3 + i % 4, 2) for i in range(12)]
    long = [text(20 + 3 * i, 2 + i % 4) for i in range(12)]
    tables = [
        fake_table.make(folder / name, rows, lengths=(64, 8), task=name)
        for name, rows in (("short", short), ("long", long))
    ]
    return [Stream(tables[0], 0), Stream(tables[1], 0), Stream(tables[0], 1)]


CUT = Cut(3, (Bucket(8, 2), Bucket(40, 5), Bucket(56, 5)))


def unpadded(row: np.ndarray) -> tuple[int, ...]:
    return tuple(row[row >= 0].tolist())


@pytest.mark.parametrize("running", [[0, 1, 2], [1], [0, 2]])
def test_every_row_of_the_running_lanes_is_there_once(streams, running):
    made = microbatches.make(streams, running, step=2, batch_size=4, cut=CUT)
    found = [
        (int(lane), unpadded(inputs), unpadded(targets))
        for rows in made
        for inputs, targets, lane, weight in zip(*rows, strict=True)
        if weight > 0
    ]
    expected = []
    for k in running:
        table, seed = streams[k]
        chosen = batches.batch_rows(table, seed, 2, 4)
        laid = batches.gather(table, chosen, 64, 8)
        for inputs, targets in zip(laid["inputs"], laid["targets"], strict=True):
            expected.append((k, unpadded(inputs), unpadded(targets)))
    assert sorted(found) == sorted(expected)


def test_microbatches_have_one_count_of_rows_and_the_shortest_bucket_that_fits(streams):
    made = microbatches.make(streams, [0, 1, 2], step=0, batch_size=4, cut=CUT)
    assert [len(rows.lanes) for rows in made] == [3, 3, 3, 3]
    longest = [max(len(unpadded(row)) for row in rows.inputs) for rows in made]
    assert longest == sorted(longest)
    for rows, length in zip(made, longest, strict=True):
        fits = [bucket for bucket in CUT.buckets if bucket.inputs >= length]
        assert rows.inputs.shape[1] == fits[0].inputs
        assert rows.targets.shape[1] == fits[0].targets


def test_weights_share_a_lanes_target_tokens(streams):
    made = microbatches.make(streams, [0, 1, 2], step=1, batch_size=4, cut=CUT)
    tokens = np.zeros(3)
    for rows in made:
        counts = (rows.targets >= 0).sum(axis=1)
        np.add.at(tokens, rows.lanes, rows.weights * counts)
    np.testing.assert_allclose(tokens, 1, rtol=1e-6)


def test_filling_has_no_weight_and_lies_among_the_shortest_rows(streams):
    cut = CUT._replace(rows=5)
    first, second, third = microbatches.make(streams, [0, 1, 2], 0, 4, cut)
    np.testing.assert_array_equal(first.weights[:3], 0)  # 12 rows, 15 places
    assert (first.weights[3:] > 0).all()
    assert (second.weights > 0).all() and (third.weights > 0).all()
    np.testing.assert_array_equal(first.inputs[0], first.inputs[3])


def test_no_lane_gives_no_microbatch(streams):
    assert microbatches.make(streams, [], 0, 4, CUT) == []


@pytest.mark.parametrize(
    ("maxima", "longest", "most", "expected"),
    [
        # One length: one bucket, rounded up to a multiple of 8.
        ([5, 7, 8], 8, 8, (8,)),
        # Room for all: every length that occurs, and the table's longest.
        ([5, 20, 20, 60], 64, 8, (8, 24, 64)),
        # Two buckets: 8 and 64 give 3 x 8 + 2 x 64 positions, 40 and 64 4 x 40 + 64.
        ([8, 8, 8, 40, 64], 64, 2, (8, 64)),
        # The longest row never comes in the sample, but must fit.
        ([8, 8], 100, 2, (8, 104)),
    ],
)
def test_buckets_are_those_that_pad_least(monkeypatch, maxima, longest, most, expected):
    monkeypatch.setattr(microbatches, "MOST_BUCKETS", most)
    assert microbatches._edges(np.array(maxima), longest, 0) == expected


@pytest.mark.parametrize("seed", range(20))
def test_buckets_against_all_choices(monkeypatch, seed):
    monkeypatch.setattr(microbatches, "MOST_BUCKETS", 3)
    rng = np.random.default_rng(seed)
    maxima, longest, prompt = rng.integers(1, 60, 30), 64, int(rng.integers(0, 40))

    def positions(edges):
        return sum(min(e for e in edges if e >= n) + prompt for n in maxima)

    lengths = range(8, 64, 8)
    choices = [
        (*inner, 64)
        for count in range(3)
        for inner in itertools.combinations(lengths, count)
    ]
    least = min(map(positions, choices))
    assert positions(microbatches._edges(maxima, longest, prompt)) == least


def test_a_cut_is_chosen_from_the_tables(streams):
    cut = microbatches.choose(streams, batch_size=4, tokens=40, prompt_length=2)
    # Rows have (4.5 + 36.5 + 4.5) / 3 tokens and 2 of the prompt: 12 rows, 206 in all,
    # are 5 microbatches of about 40, and so of 3 rows.
    assert cut.rows == 3
    lengths = [bucket.inputs for bucket in cut.buckets]
    assert lengths == sorted(lengths) and lengths[-1] == 56  # the longest has 53
    # Rows of at most 8 tokens are those of the first table: targets of 2.
    assert cut.buckets[0] == Bucket(8, 2) and cut.buckets[-1].targets == 5


def test_padding_is_counted_by_hand(streams):
    only = [Stream(streams[0].table, 0)]  # 12 rows of 3 to 6: 54 tokens an epoch
    cut = Cut(12, (Bucket(8, 2),))
    found = microbatches.padding(only, 12, cut)
    assert found == (microbatches.SAMPLE * 12 * 8, microbatches.SAMPLE * 54)
