"""What is compiled ahead for a job: each stage's own steps, from shapes alone."""

import pytest

from dtvg_jax.formats.tensors import Checkpoint
from dtvg_jax.jobs import compile_steps
from dtvg_jax.jobs.job import Job
from dtvg_jax.training import compile_ahead
from dtvg_jax.training.placement import Mesh
from dtvg_jax.training.stages import Stage

JOB = Job(
    backbone="miniature",
    sources=["sst2", "qnli"],
    targets=["mrpc"],
    methods=["prompt_tuning", "dtvg"],
    seeds=[0, 1],
    prompt_length=4,
    mesh=Mesh(fsdp=2),
    stage1=Stage(steps=2, learning_rate=0.1, warmup=0, batch_size=8, dropout=True),
    stage2=Stage(steps=2, learning_rate=0.1, warmup=0, batch_size=4, dropout=False),
)


@pytest.fixture
def steps(monkeypatch):
    """The steps that would be compiled; reading any weights fails."""

    def read(*_):
        raise AssertionError("weights were read")

    given = {}

    def compile_none(topology, config, steps, dtype, mesh):
        given.update(steps)
        about = {"width": config.d_model, "dtype": dtype, "mesh": mesh}
        return {"topology": topology} | about

    monkeypatch.setattr(Checkpoint, "params", read)
    monkeypatch.setattr(compile_ahead, "compile_steps", compile_none)
    made = compile_steps.compile_steps(JOB, "v5e:2x4")
    about = {"width": 96, "dtype": "float32", "mesh": Mesh(fsdp=2)}
    assert made == {"topology": "v5e:2x4"} | about
    return given


def test_each_stage_has_its_own_dropout_and_batch(steps):
    seen = {name: (s.dropout, s.shapes.batch_size) for name, s in steps.items()}
    assert seen == {
        "stage1": (True, 8),
        "stage2-prompt_tuning": (False, 4),
        "stage2-dtvg": (False, 4),
    }


def test_lanes_and_sources_are_those_of_the_plan(steps):
    shapes = {name: step.shapes for name, step in steps.items()}
    assert (shapes["stage1"].lanes, shapes["stage1"].sources) == (6, 0)
    assert (shapes["stage2-dtvg"].lanes, shapes["stage2-dtvg"].sources) == (2, 2)
