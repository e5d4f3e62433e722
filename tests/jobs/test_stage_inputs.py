"""Where lanes of stage 2 begin, on prompts of two rows made by hand."""

import dataclasses

import numpy as np
import pytest

from dtvg_jax.jobs import job, plan, stage_inputs
from dtvg_jax.methods import Start, dtvg
from dtvg_jax.report.records import SingleSource
from dtvg_jax.store.entries import Entry, Metadata
from dtvg_jax.training import stages

STAGE = stages.Stage(steps=1, learning_rate=0.1, warmup=0)
JOB = job.Job(
    backbone="miniature", sources=["mnli", "qqp", "rte"], targets=["rte"],
    stage1=STAGE, stage2=STAGE, seeds=[3], 
)  # fmt: skip
P_INIT = np.full((2, 2), 1.0, np.float32)
PROMPTS = {
    "mnli": [[1.0, 0.0], [1.0, 0.0]],
    "qqp": [[0.0, 1.0], [0.0, 3.0]],
    "rte": [[0.25, 1.0], [0.0, 1.0]],
}
SINGLES = [
    SingleSource("rte", source, seed, 9, validation={"mean": score}, metrics={})
    for source, seed, score in [("mnli", 3, 60.0), ("qqp", 3, 40.0), ("qqp", 4, 99.0)]
]


def read(failed=()):
    def entry(run):
        prompt = np.array(PROMPTS[run.task], np.float32)
        arrays = {"prompt": prompt, "tpv": prompt - P_INIT}
        why = "why" if run.task in failed else None
        return Entry(arrays, Metadata(run.task, run.method, run.seed, failed=why))

    return entry


def begin(method, failed=()):
    one = dataclasses.replace(JOB, methods=[method])
    program = plan.programs(one)[1]
    return stage_inputs.second(one, {3: P_INIT}, program, read(failed), SINGLES)


@pytest.mark.parametrize(
    ("method", "failed", "start"),
    [
        ("prompt_tuning", (), "rte"),
        ("dtvg", (), "rte"),
        (dtvg.Grouped(start=Start.MOST_SIMILAR_SOURCE), (), "qqp"),
        ("spot", (), "qqp"),  # mean rows (0.125, 1): nearer to (0, 2) than to (1, 0)
        ("best_source", (), "mnli"),  # 60 of this seed's rows; rte is the target itself
        ("best_source", ("mnli",), "qqp"),
        ("spot", ("qqp",), "mnli"),
        ("spot", ("mnli", "qqp"), "rte"),  # no source is left
    ],
)
def test_lanes_begin_where_their_method_says(method, failed, start):
    np.testing.assert_array_equal(begin(method, failed).start, [PROMPTS[start]])


@pytest.mark.parametrize("method", ["combined_sources", "mpt_mixture"])
def test_a_lane_may_begin_at_the_prompt_of_a_mixture(monkeypatch, method):
    monkeypatch.setitem(PROMPTS, "dtvg_sources", [[7.0, 8.0], [9.0, 0.0]])
    one = dataclasses.replace(JOB, methods=[method], mixture="dtvg_sources")
    program = plan.programs(one)[1]
    began = stage_inputs.second(one, {3: P_INIT}, program, read(), SINGLES)
    np.testing.assert_array_equal(began.start, [PROMPTS["dtvg_sources"]])


def test_a_lane_may_begin_at_p_init():
    np.testing.assert_array_equal(begin("from_p_init").start, [P_INIT])


def test_a_source_that_learned_nothing_is_orthogonal(monkeypatch):
    # Its mean row is zero, so it has no direction; NaN would win every comparison.
    monkeypatch.setitem(PROMPTS, "mnli", [[1.0, -1.0], [-1.0, 1.0]])
    with np.errstate(all="raise"):
        start = begin("spot").start
    np.testing.assert_array_equal(start, [PROMPTS["qqp"]])


def test_a_task_is_no_source_of_itself_and_failed_sources_of_none():
    context = begin("dtvg", ("qqp",))
    np.testing.assert_array_equal(context.available, [[True, False, False]])
    np.testing.assert_array_equal(context.sources[0, 0], [[0.0, -1.0], [0.0, -1.0]])
