"""Batches: pure in (table, seed, step), complete, padded with -1, made ahead."""

import contextlib
import hashlib
import threading
import time

import fake_table
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtvg_jax.data import batches
from dtvg_jax.data.tokenise import TextRow


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "toy"
    return fake_table.make(folder, fake_table.rows(10))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "other"
    return fake_table.make(folder, fake_table.rows(7), task="other")


@settings(deadline=None)
@given(n=st.integers(1, 200), seed=st.integers(0, 2**31), epoch=st.integers(0, 2**40))
def test_an_epoch_is_a_permutation(n, seed, epoch):
    order = batches.row_order(n, "toy", "train", seed, epoch)
    assert sorted(order.tolist()) == list(range(n))


def test_every_argument_changes_the_order():
    base = (1000, "toy", "train", 0, 0)
    others = [
        (1000, "toys", "train", 0, 0),
        (1000, "toy", "test", 0, 0),
        (1000, "toy", "train", 1, 0),
        (1000, "toy", "train", 0, 1),
        (1000, "toytra", "in", 0, 0),
    ]
    orders = [batches.row_order(*case).tolist() for case in [base, *others]]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])


def test_the_order_is_the_same_in_every_process_and_version():
    # made once and kept: a resumed job must find the order that it began with
    order = batches.row_order(1000, "rte", "train", 42, 3)
    assert order[:5].tolist() == [288, 684, 284, 93, 350]
    assert (
        hashlib.sha256(order.astype("<i4").tobytes()).hexdigest()[:12] == "bebaa9c3700a"
    )


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 23])
def test_steps_walk_through_epochs_without_gap_or_repeat(table, batch_size):
    steps = 40 // batch_size + 1
    walked = np.concatenate(
        [batches.batch_rows(table, 5, step, batch_size) for step in range(steps)]
    )
    epochs = [batches.row_order(10, "toy", "train", 5, e) for e in range(10)]
    np.testing.assert_array_equal(walked, np.concatenate(epochs)[: len(walked)])


def test_a_step_is_the_same_out_of_order(table):
    forward = [batches.batch_rows(table, 1, step, 4).tolist() for step in range(20)]
    batches.row_order.cache_clear()
    backward = [batches.batch_rows(table, 1, s, 4).tolist() for s in range(19, -1, -1)]
    assert forward == backward[::-1]


def test_gather_by_hand(tmp_path):
    content = [TextRow("ab", "0", ""), TextRow("", "10", ""), TextRow("xyz", "1", "")]
    table = fake_table.make(tmp_path / "t", content)
    batch = batches.gather(table, np.array([2, 1, -1, 0]), 5, 3)
    assert [fake_table.text_of(r) for r in batch["inputs"]] == [
        "xyz|_",
        "|____",
        "_____",
        "ab|__",
    ]
    assert [fake_table.text_of(r) for r in batch["targets"]] == [
        "1|_",
        "10|",
        "___",
        "0|_",
    ]
    assert batch["inputs"].dtype == batch["targets"].dtype == np.int32


def test_gather_agrees_with_a_loop(table):
    rows = np.random.default_rng(0).integers(-1, 10, 64)
    batch = batches.gather(table, rows, 8, 4)
    for name, offsets in (
        ("inputs", table.input_offsets),
        ("targets", table.target_offsets),
    ):
        for row, got in zip(rows, batch[name], strict=True):
            ids = getattr(table, name)[offsets[row] : offsets[row + 1]]
            want = [] if row < 0 else ids.tolist()
            assert got.tolist() == want + [-1] * (len(got) - len(want))


def test_a_row_that_does_not_fit_is_refused(table):
    with pytest.raises(ValueError, match="row 5 has 6 ids and does not fit into 5"):
        batches.gather(table, np.arange(10), 5, 4)


def _batch_threads():
    return [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_prefetch_yields_every_step_on_the_device():
    got = list(batches.prefetch(lambda step: {"x": np.full(2, step)}, 3, 9))
    assert [int(batch["x"][0]) for batch in got] == [3, 4, 5, 6, 7, 8]
    assert isinstance(got[0]["x"], jax.Array)
    assert not _batch_threads()


def test_prefetch_is_ahead_but_not_far():
    made = []
    with contextlib.closing(batches.prefetch(made.append, 0, 100, 3)) as ahead:
        next(ahead)
        time.sleep(0.2)
        assert 2 <= len(made) <= 4
    assert not _batch_threads()


def test_prefetch_raises_at_the_step_that_failed_and_stops():
    def make(step):
        if step == 2:
            raise KeyError("row")
        return step

    ahead = batches.prefetch(make, 0, 10)
    assert [int(next(ahead)), int(next(ahead))] == [0, 1]
    with pytest.raises(KeyError, match="row"):
        next(ahead)
    assert not _batch_threads()
