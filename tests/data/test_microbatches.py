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


CUT = Cut((Bucket(8, 2, 4), Bucket(40, 5, 2), Bucket(56, 5, 1)), prompt_length=0)


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


def test_rows_are_dealt_longest_first_each_bucket_of_one_shape(streams):
    made = microbatches.make(streams, [0, 1, 2], step=0, batch_size=4, cut=CUT)
    longest = [max(len(unpadded(row)) for row in rows.inputs) for rows in made]
    assert longest == sorted(longest, reverse=True)
    for rows, length in zip(made, longest, strict=True):
        bucket = next(bucket for bucket in CUT.buckets if bucket.inputs >= length)
        assert rows.inputs.shape == (bucket.rows, bucket.inputs)
        assert rows.targets.shape == (bucket.rows, bucket.targets)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        # One of 50, two pairs up to 40 (35 with 20, 9 alone), then four of at most 8.
        ([50, 35, 20, 8, 7, 6, 5], [(56, [0]), (40, [1, 2]), (8, [3, 4, 5, 6])]),
        # A pair is filled from the rows that come next, though they are short.
        ([35, 8, 7, 6, 5, 4], [(40, [0, 1]), (8, [2, 3, 4, 5])]),
        # One row left: 1 x 56 is fewer positions than 2 x 40, more than 4 x 8.
        ([35], [(56, [0])]),
        ([8], [(8, [0])]),
    ],
)
def test_deals_by_hand(sizes, expected):
    dealt = microbatches.deal(np.array(sizes), CUT)
    assert [(b.inputs, order.tolist()) for b, order in dealt] == expected


def test_weights_share_a_lanes_target_tokens(streams):
    made = microbatches.make(streams, [0, 1, 2], step=1, batch_size=4, cut=CUT)
    tokens = np.zeros(3)
    for rows in made:
        counts = (rows.targets >= 0).sum(axis=1)
        np.add.at(tokens, rows.lanes, rows.weights * counts)
    np.testing.assert_allclose(tokens, 1, rtol=1e-6)


def test_filling_has_no_weight(streams):
    cut = Cut((Bucket(8, 2, 3),), 0)
    first, second = microbatches.make(streams, [0], 0, 4, cut)
    assert (first.weights > 0).all()
    np.testing.assert_array_equal(second.weights[1:], 0)  # 4 rows, 6 places
    np.testing.assert_array_equal(second.inputs[0], second.inputs[1])


def test_no_lane_gives_no_microbatch(streams):
    assert microbatches.make(streams, [], 0, 4, CUT) == []


def shares_of(lengths: list[int]) -> np.ndarray:
    return np.bincount(lengths) / len(lengths)


@pytest.mark.parametrize(
    ("lengths", "most", "prompt", "expected"),
    [
        ([5, 7, 8], 8, 0, (8,)),  # one length, rounded up to a multiple of 8
        ([5, 20, 20, 60], 8, 0, (8, 24, 64)),  # room for all that occur
        # Two buckets: 8 and 64 give 3 x 8 + 2 x 64 positions, 40 and 64 4 x 40 + 64.
        ([8, 8, 8, 40, 64], 2, 0, (8, 64)),
        # 8, 64: 8 + 3 x 64 = 200. 16, 64: 2 x 16 + 2 x 64 = 160. 56, 64: 3 x 56 + 64.
        ([8, 16, 56, 64], 2, 0, (16, 64)),
        # A prompt adds the same to each row wherever it goes.
        ([8, 16, 56, 64], 2, 100, (16, 64)),
    ],
)
def test_buckets_are_those_that_pad_least(monkeypatch, lengths, most, prompt, expected):
    monkeypatch.setattr(microbatches, "MOST_BUCKETS", most)
    assert microbatches._edges(shares_of(lengths), prompt) == expected


@pytest.mark.parametrize("seed", range(20))
def test_buckets_against_all_choices(monkeypatch, seed):
    monkeypatch.setattr(microbatches, "MOST_BUCKETS", 3)
    rng = np.random.default_rng(seed)
    lengths = [*rng.integers(1, 60, 30), 64]

    def positions(edges):
        return sum(min(e for e in edges if e >= n) for n in lengths)

    choices = [
        (*inner, 64)
        for count in range(3)
        for inner in itertools.combinations(range(8, 64, 8), count)
    ]
    found = microbatches._edges(shares_of(lengths), 0)
    assert positions(found) == min(map(positions, choices))


def test_a_cut_is_chosen_from_the_tables(streams):
    cut = microbatches.choose(streams, batch_size=4, tokens=130, prompt_length=2)
    # Two lanes of lengths 3 to 6, one of 20, 23, ... 53, and 2 rows of the prompt.
    assert cut.buckets[0] == Bucket(8, 2, 8)  # 13 rows of 10 fit: 8
    assert cut.buckets[-1] == Bucket(56, 5, 2)  # 2 of 58
    assert len(cut.buckets) == 6  # 8, 24, 32, 40, 48, 56
    two = microbatches.choose(streams, 4, 130, 2, devices=2)
    assert [bucket.rows for bucket in two.buckets] == [8, 4, 2, 2, 2, 2]


def test_many_lanes_have_longer_microbatches_not_more(streams):
    many = microbatches.choose(streams * 32, batch_size=16, tokens=130, prompt_length=0)
    # 96 lanes x 16 rows x (2 x 4.5 + 36.5) / 3 tokens in 16 parts: 1456
    assert many.buckets[0].rows == 128 and many.buckets[-1].rows == 16


@pytest.mark.parametrize(("devices", "rows"), [(1, 12), (8, 16), (32, 32)])
def test_no_microbatch_is_larger_than_a_step(streams, devices, rows):
    """On accelerators, whose tokens would fit hundreds of rows."""
    cut = microbatches.choose(streams, 4, 16384 * devices, 0, devices)
    assert {bucket.rows for bucket in cut.buckets} == {rows}
    [made] = microbatches.make(streams, [0, 1, 2], 0, 4, cut)
    assert (made.weights > 0).sum() == 12  # the step is one microbatch


def test_padding_is_counted_by_hand(streams):
    only = [Stream(streams[0].table, 0)]  # 12 rows of 3 to 6: 54 tokens an epoch
    found = microbatches.padding(only, 12, Cut((Bucket(8, 2, 8),), 0), steps=3)
    assert found == (3 * 2 * 8 * 8, 3 * 54)  # 12 rows are two microbatches of 8
