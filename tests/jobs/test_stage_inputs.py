"""Where lanes of stage 2 begin, on prompts of two rows made by hand."""

import numpy as np
import pytest

from dtvg_jax.jobs import job, stage_inputs
from dtvg_jax.store import prompt_store
from dtvg_jax.training import stages

STAGE = stages.Stage(steps=1, learning_rate=0.1)
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
    {"task": "rte", "source": "mnli", "seed": 3, "validation": {"mean": 60.0}},
    {"task": "rte", "source": "qqp", "seed": 3, "validation": {"mean": 40.0}},
    {"task": "rte", "source": "qqp", "seed": 4, "validation": {"mean": 99.0}},
]


def read(failed=()):
    def entry(name):
        task = name.split("/")[0]
        prompt = np.array(PROMPTS[task], np.float32)
        arrays = {"prompt": prompt, "tpv": prompt - P_INIT}
        return prompt_store.Entry(arrays, {"failed": "why" if task in failed else None})

    return entry


def begin(method, failed=()):
    lane = stages.Lane(2, "rte", method, 3, 1)
    return stage_inputs.second(JOB, {3: P_INIT}, [lane], read(failed), SINGLES)


@pytest.mark.parametrize(
    ("method", "failed", "start"),
    [
        ("prompt_tuning", (), "rte"),
        ("dtvg", (), "rte"),
        ("spot", (), "qqp"),  # mean rows (0.125, 1): nearer to (0, 2) than to (1, 0)
        ("best_source", (), "mnli"),  # 60 of this seed's rows; rte is the target itself
        ("best_source", ("mnli",), "qqp"),
        ("spot", ("qqp",), "mnli"),
        ("spot", ("mnli", "qqp"), "rte"),  # no source is left
    ],
)
def test_lanes_begin_where_their_method_says(method, failed, start):
    np.testing.assert_array_equal(begin(method, failed).start, [PROMPTS[start]])


def test_a_task_is_no_source_of_itself_and_failed_sources_of_none():
    context = begin("dtvg", ("qqp",))
    np.testing.assert_array_equal(context.available, [[True, False, False]])
    np.testing.assert_array_equal(context.sources[0, 0], [[0.0, -1.0], [0.0, -1.0]])
