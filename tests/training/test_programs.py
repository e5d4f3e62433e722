"""Programs: whether a step's memory needs layers that are computed again."""

import jax
import pytest
import test_lanes
from jaxtyping import PyTree

from dtvg_jax.data.microbatches import Bucket, Cut
from dtvg_jax.methods import METHODS
from dtvg_jax.training import lanes, optimisers, placement, programs, stages, step

DTVG = METHODS["dtvg"]
TRAINING = programs.Training(
    name="stage2-dtvg",
    method=DTVG,
    stage=stages.Stage(steps=9, learning_rate=0.1, warmup=0, dropout=False),
    lanes=[],
    context=test_lanes.context(),
    tables=[],
    sources=("x", "y", "z"),
)


@pytest.mark.parametrize(
    ("cut", "largest"),
    [
        ([Bucket(16, 2, 64), Bucket(96, 2, 2)], 0),
        ([Bucket(16, 2, 2), Bucket(96, 2, 2)], 1),
        ([Bucket(8, 2, 8), Bucket(48, 2, 8), Bucket(56, 2, 4)], 1),
    ],
)
def test_the_microbatch_that_needs_most_memory_decides(cut, largest, monkeypatch):
    fixed, backbone = test_lanes.fixed(), test_lanes.backbone()
    state = lanes.init(DTVG, optimisers.by_name("adamw_stage2"), fixed.context)
    place = placement.make(devices=jax.devices()[:1])

    def decided(limit: int) -> bool:
        monkeypatch.setattr(placement, "memory", lambda devices: limit)
        made = Cut(tuple(cut), prompt_length=5)
        return programs.needs_remat(TRAINING, backbone, state, fixed, made, place)

    def array(*shape: int, dtype: str = "int32") -> PyTree[jax.ShapeDtypeStruct]:
        return jax.ShapeDtypeStruct(shape, dtype)

    inputs, targets, count = cut[largest]
    rows = step.Rows(
        array(count, inputs),
        array(count, targets),
        array(count),
        array(count, dtype="float32"),
    )
    needed = step.microbatch_bytes(backbone, DTVG, state, fixed, rows, dropout=False)
    assert needed is not None
    assert decided(needed - 1) and not decided(needed)
