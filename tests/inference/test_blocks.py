"""Blocks of rows: every row once, full blocks of like length, one shape per bucket."""

import collections

import fake_table
import pytest

from dtvg_jax.inference import blocks
from dtvg_jax.models.t5_config import T5Config

SMALL = T5Config(
    vocab_size=32128,
    d_model=512,
    d_kv=64,
    num_heads=8,
    d_ff=2048,
    num_layers=6,
    num_decoder_layers=6,
)
LIMITS = blocks.Limits(rows=32, devices=1, bound=512, prompt_length=100, bytes=None)


def table(*lengths: int):
    ids = [[5] * n for n in lengths]
    return fake_table.of_ids(ids, [[1]] * len(ids), (max(lengths), 1))


def test_rows_of_all_tables_are_cut_from_the_longest_on(monkeypatch) -> None:
    monkeypatch.setattr(blocks, "rows_at_once", lambda *_: 2)
    tables = {3: table(10, 60, 33), 7: table(40, 1)}
    got = blocks.plan([tables], SMALL, LIMITS)
    assert [(b.pairs.tolist(), b.rows.tolist(), b.length) for b in got] == [
        ([3, 7], [1, 0], 64),
        ([3, 3], [2, 0], 48),
        ([7], [1], 32),
    ]
    # A group of its own is cut alone; blocks of one length have one shape.
    got = blocks.plan([{3: tables[3]}, {7: table(1, 1, 20)}], SMALL, LIMITS)
    assert [(b.pairs.tolist(), b.rows.tolist(), b.length) for b in got] == [
        ([3, 3], [1, 2], 64),
        ([3, 3], [0, -1], 32),
        ([7, 7], [2, 0], 32),
        ([7, 7], [1, -1], 32),
    ]


@pytest.mark.parametrize(
    ("length", "bound", "want"),
    [(512, 512, 32), (384, 512, 32), (192, 512, 64), (32, 512, 128), (32, 256, 64)],
)
def test_short_rows_come_in_larger_blocks(length: int, bound: int, want: int) -> None:
    limits = LIMITS._replace(bound=bound)
    assert blocks.rows_at_once(SMALL, limits, length) == want


@pytest.mark.parametrize(("devices", "want"), [(1, 8), (4, 8), (16, 16)])
def test_few_rows_are_a_small_block_on_all_devices(devices: int, want: int) -> None:
    limits = LIMITS._replace(devices=devices)
    [block] = blocks.plan([{0: table(*[9] * 5)}], SMALL, limits)
    assert len(block.rows) == want


def test_little_is_padding_and_shapes_are_few() -> None:
    lengths = [5 + (37 * i) % 250 for i in range(2000)]
    got = blocks.plan([{0: table(*lengths)}], SMALL, LIMITS)
    shapes = collections.Counter((b.length, len(b.rows)) for b in got)
    assert len(shapes) == len({b.length for b in got}) <= 9
    padded = sum(b.length * len(b.rows) for b in got)
    assert sum(lengths) / padded > 0.8


@pytest.mark.parametrize(
    ("length", "devices", "want"),
    # A row of T5-small takes 6.5 MB with 132 positions and 49 MB with 612: of each of
    # 8 heads two tables of scores, and 20 vectors of 512 for each position, in float32.
    [(32, 1, 32), (512, 1, 8), (512, 16, 16)],
)
def test_a_block_takes_no_more_bytes_than_it_may(length, devices, want) -> None:
    limits = LIMITS._replace(bytes=400_000_000, devices=devices)
    assert blocks.rows_at_once(SMALL, limits, length) == want
