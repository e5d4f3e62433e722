"""A job with a mixture: its plan, its rows, and a run that is killed and resumed."""

import dataclasses
import sys
from types import SimpleNamespace

import fake_table
import numpy as np
import pytest

from dtvg_jax.data import catalogue, mixtures
from dtvg_jax.errors import InputError, Stopped
from dtvg_jax.jobs import job, pipeline, plan, testing, token_tables
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.store.prompt_store import PromptStore
from dtvg_jax.training.stages import Stage

STAGE = Stage(steps=4, learning_rate=0.1, batch_size=4, warmup=0, validate_every=2)


def settings(**changes) -> job.Job:
    given = {
        "backbone": "miniature", "sources": ["mnli", "qqp"], "targets": ["rte"],
        "methods": ["prompt_tuning", "combined_sources"], "mixture": "dtvg_sources",
        "stage1": STAGE, "stage2": STAGE, "seeds": [0, 1],
    }  # fmt: skip
    return job.Job(**given | changes)


def test_stage_1_learns_a_prompt_of_the_mixture_for_each_seed():
    stage1, stage2 = plan.programs(settings())
    mixed = [run for run in stage1.runs if run.task == "dtvg_sources"]
    assert [run.seed for run in mixed] == [0, 1] and len(stage1.runs) == 8
    steps = {lane.run.method: lane.steps for lane in stage2.lanes}
    assert steps == {"prompt_tuning": 4, "combined_sources": 8}  # with stage 1's steps
    assert {run.task for run in stage2.runs} == {"rte"}
    assert plan.tasks(settings()) == ["mnli", "qqp", "rte"]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"mixture": None}, "combined_sources starts from the prompt of a mix"),
        ({"mixture": "dtvg_source"}, "unknown mixture 'dtvg_source': did you me"),
        ({"mixture": "mine", "tasks_module": "absent_mod"}, "there is no such mod"),
    ],
)  # fmt: skip
def test_a_mixture_that_is_missing_is_refused(changes, said):
    with pytest.raises(InputError, match=said):
        settings(**changes)


def test_a_plan_says_which_targets_the_mixture_has_seen():
    one = settings(mixture="dtvg_glue", targets=["rte", "paws"])
    assert "the mixture dtvg_glue has rows of rte in it" in plan.describe(one)
    assert "has rows of" not in plan.describe(settings())


def test_rows_of_the_catalogue_are_capped(tmp_path, monkeypatch):
    sources = catalogue.mixtures()["dtvg_sources"]
    tables = {
        (task, "train"): fake_table.make(
            tmp_path / task, fake_table.rows(10 * (1 + i)), task=task
        )
        for i, task in enumerate(sources)
    }
    monkeypatch.setattr(catalogue.module("task_info"), "MIXTURE_CAP", 40)
    rows = token_tables.training_rows(
        settings(), tables, plan.stage1_run("dtvg_sources", 0)
    )
    assert [table.name for table in rows.tables] == sources
    # 10, 20, 30, and three times 40 of 180
    np.testing.assert_allclose(rows.shares, np.array([1, 2, 3, 4, 4, 4]) / 18)


def test_a_mixture_scores_the_mean_of_its_tasks(tmp_path, monkeypatch):
    tables = {
        (task, "validation"): fake_table.make(
            tmp_path / task,
            fake_table.rows(4),
            task=task,
            scoring=catalogue.Scoring(
                (lambda golds, texts, score=score: {"accuracy": score},)
            ),
        )
        for task, score in (("a", 90.0), ("b", 30.0))
    }
    together = {"both": ["a", "b"]}
    evaluator = testing.Evaluator(
        SimpleNamespace(), SimpleNamespace(), tables, lambda n: together.get(n, [n])
    )
    monkeypatch.setattr(
        testing.Evaluator,
        "predict",
        lambda self, prompts, pairs: [["x"] * 4] * len(pairs),
    )
    prompts = Prompts(np.zeros((2, 1, 1), np.float32))
    found = evaluator.scores(prompts, [(0, "b"), (1, "both")], "validation")
    assert found == [
        {"accuracy": 30.0, "mean": 30.0}, {"a": 90.0, "b": 30.0, "mean": 60.0}
    ]  # fmt: skip


OWN = """
import seqio
import tensorflow as tf
from tasks import metrics
from tasks.registration import FEATURES

rows = {"inputs": ["a b", "c d"], "targets": ["0", "1"]}
source = seqio.FunctionDataSource(
    lambda split, shuffle_files: tf.data.Dataset.from_tensor_slices(rows), ["train"]
)
for name in ("own_first", "own_second"):
    seqio.TaskRegistry.add(
        name, source=source, preprocessors=[seqio.preprocessors.tokenize],
        output_features=FEATURES, metric_fns=[metrics.accuracy],
    )
seqio.MixtureRegistry.add("own_mix", [("own_first", 3), ("own_second", lambda task: 1)])
seqio.MixtureRegistry.add("own_none", [("own_first", 0), ("own_second", 1)])
"""


def test_a_mixture_of_ones_own_has_its_rates(tmp_path):
    (tmp_path / "my_mixtures.py").write_text(OWN)
    sys.path.insert(0, str(tmp_path))
    try:
        assert mixtures.rates("own_mix", "my_mixtures") == {
            "own_first": 3.0, "own_second": 1.0
        }  # fmt: skip
        with pytest.raises(
            InputError, match="rate of own_first in the mixture 'own_no"
        ):
            mixtures.rates("own_none", "my_mixtures")
        with pytest.raises(
            InputError, match="no SeqIO mixture 'own_mis': did you mean"
        ):
            mixtures.rates("own_mis", "my_mixtures")
    finally:
        sys.path.remove(str(tmp_path))


def files_of(folder) -> dict[str, bytes]:
    """Everything that the lanes made: the prompts and the log."""
    names = [*(folder / "store").rglob("*.safetensors"), folder / "metrics.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


@pytest.mark.slow
def test_a_job_on_a_mixture_is_resumed_byte_for_byte(cache, tmp_path):
    one = settings(
        sources=["mnli"], targets=["e2e"], mixture="dtvg_generation", seeds=[0],
        prompt_length=4, inputs_length=32, targets_length=4, validation_rows=4,
        test_rows=4, cache_dir=str(cache),
    )  # fmt: skip
    report = pipeline.run(one, tmp_path / "whole")
    names = PromptStore(tmp_path / "whole" / "store").names()
    assert "dtvg_generation/stage1-seed0" in names
    entry = PromptStore(tmp_path / "whole" / "store").read(
        "dtvg_generation/stage1-seed0"
    )
    assert set(entry.metadata.metrics) == {"e2e", "common_gen", "web_nlg", "mean"}
    assert np.abs(entry.arrays["tpv"]).max() > 0
    assert {row.task for row in report.results.rows} == {"mnli", "e2e"}
    [mixed] = report.results.mixtures
    assert (mixed.mixture, mixed.seed, mixed.failed) == ("dtvg_generation", 0, None)
    assert mixed.validation == entry.metadata.metrics
    assert mixed.prompt_digest == entry.metadata.prompt_digest
    assert mixed.entry == f"store/{entry.metadata.name}"
    assert "combined_sources" in {row.method for row in report.results.rows}
    calls = 0

    def stop():
        nonlocal calls
        calls += 1
        if calls % 30 == 0:
            raise Stopped(15)

    for _ in range(100):
        try:
            pipeline.run(dataclasses.replace(one), tmp_path / "stopped", check=stop)
            break
        except Stopped:
            pass
    assert calls > 30
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")
