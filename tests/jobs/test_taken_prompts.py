"""Sources that lie in other stores: taken, checked, and never learned again."""

import dataclasses
import pathlib
import shutil

import fake_training
import numpy as np
import pytest

import dtvg_jax as dtvg
from dtvg_jax.errors import InputError
from dtvg_jax.jobs import (
    job,
    lane_entries,
    lengths,
    pipeline,
    plan,
    taken_prompts,
    testing,
)
from dtvg_jax.methods import initial_prompt
from dtvg_jax.report.records import Report
from dtvg_jax.store import prompt_store
from dtvg_jax.store.entries import Metadata
from dtvg_jax.training import loop, metrics_log, programs
from dtvg_jax.training.stages import Stage

STAGE = Stage(steps=2, learning_rate=0.1, batch_size=4, warmup=0, validate_every=2)
P = 4


def draw(folder: pathlib.Path, count: int, seed: int = 0, **changes) -> list[str]:
    """Fills a store with prompts that nothing has learned; returns their tasks."""
    backbone = dtvg.load_backbone("miniature")
    length = changes.get("prompt_length", P)
    p_init = initial_prompt.p_init(backbone.embedding(backbone.params), length, seed)
    store = prompt_store.PromptStore(folder)
    rng = np.random.default_rng(seed)
    known = Metadata(
        task="", method="prompt_tuning", seed=seed, stage=1, backbone="miniature",
        backbone_digest=backbone.digest, prompt_length=length, width=p_init.shape[1],
        vocabulary_digest=backbone.vocabulary.digest,
        p_init_digest=store.write_p_init(p_init),
    )  # fmt: skip
    tasks = [f"drawn{number}" for number in range(count)]
    for task in tasks:
        tpv = rng.normal(0, 0.1, p_init.shape).astype(np.float32)
        metadata = dataclasses.replace(known, task=task, **changes)
        store.write({"prompt": p_init + tpv, "tpv": tpv}, metadata)
    return tasks


def with_sources(sources: list[str], folder: pathlib.Path, cache, **changes) -> job.Job:
    settings = {
        "backbone": "miniature", "sources": sources, "targets": ["superglue-cb"],
        "stage1": STAGE, "stage2": STAGE, "methods": ["dtvg"], "seeds": [0],
        "prompt_length": P, "inputs_length": 32, "targets_length": 2,
        "validation_rows": 10, "test_rows": 10, "evaluation_batch_size": 10,
        "cache_dir": str(cache), "prompts_from": [str(folder)],
    }  # fmt: skip
    return job.Job(**settings | changes)


@pytest.fixture
def begun(monkeypatch) -> list[programs.Training]:
    """What is trained, in jobs whose lanes end where they begin, with any answers."""
    seen = []

    def train(training: programs.Training, **_) -> loop.Trained:
        seen.append(training)
        return fake_training.train(training)

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(testing.Evaluator, "predict", fake_training.predict)
    return seen


def test_stage_2_begins_with_what_other_stores_hold(cache, tmp_path, begun):
    sources = draw(tmp_path / "drawn", 3)
    settings = with_sources(sources, tmp_path / "drawn", cache)
    said = lengths.describe(settings, taken_prompts.find(settings))
    assert "superglue-cb" in said and "drawn" not in said
    report = pipeline.run(settings, tmp_path / "job")
    first, second = begun
    assert [lane.run.task for lane in first.lanes] == ["superglue-cb"]
    assert [lane.run.task for lane in second.lanes] == ["superglue-cb"]
    drawn = prompt_store.PromptStore(tmp_path / "drawn")
    own = prompt_store.PromptStore(tmp_path / "job" / "store")
    names = [f"{task}/stage1-seed0" for task in sources]
    vectors = [drawn.read(name).arrays["tpv"] for name in names]
    np.testing.assert_array_equal(second.context.sources[0], vectors)
    assert all(own.read(name).metadata == drawn.read(name).metadata for name in names)
    check_tested(report, sources)
    # A resumed job has what it took, wherever the other store is now.
    shutil.rmtree(tmp_path / "drawn")
    shutil.rmtree(tmp_path / "job" / "measured")
    assert pipeline.run(settings, tmp_path / "job").results.rows == report.results.rows
    assert len(begun) == 2


def test_taken_prompts_are_tried_where_a_method_begins_with_the_best(
    cache, tmp_path, begun
):
    sources = draw(tmp_path / "drawn", 2)
    settings = with_sources(sources, tmp_path / "drawn", cache, methods=["best_source"])
    report = pipeline.run(settings, tmp_path / "job")
    tried = {single.source for single in report.results.single_source}
    assert tried == set(sources) and len(begun) == 2
    # The steps of the prompt that it does not begin with are made up for.
    assert [lane.steps for lane in begun[1].lanes] == [2 + 2]


def check_tested(report: Report, sources: list[str]) -> None:
    """Only the target is tested, and no source is missed."""
    rows = report.results.rows
    assert [(row.stage, row.task) for row in rows] == [
        (1, "superglue-cb"),
        (2, "superglue-cb"),
    ]
    assert list(rows[1].sources or ()) == sources
    assert report.summary.failed == []
    assert list(report.results.job.taken) == [
        f"{task}/stage1-seed0" for task in sources
    ]
    assert not report.results.single_source


@pytest.mark.slow
def test_a_new_target_trains_no_source_of_a_hundred(cache, tmp_path):
    sources = draw(tmp_path / "drawn", 100)
    settings = with_sources(sources, tmp_path / "drawn", cache)
    check_tested(pipeline.run(settings, tmp_path / "job"), sources)
    records = metrics_log.read(tmp_path / "job" / "metrics.jsonl")
    assert {record.task for record in records} == {"superglue-cb"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"backbone_digest": "0" * 64}, "backbone_digest is '0000"),
        ({"vocabulary_digest": "0" * 64}, "vocabulary_digest is '0000"),
        ({"prompt_length": 3}, "prompt_length is 3, needed is 4"),
        ({"width": 7}, "width is 7, needed is"),
        ({"p_init_digest": "0" * 64}, "p_init_digest is '0000"),
        ({"backbone_digest": None}, "backbone_digest is None, needed is"),
    ],
)
def test_an_entry_that_does_not_fit_is_named_with_its_field(
    cache, tmp_path, changes, field
):
    sources = draw(tmp_path / "drawn", 1, **changes)
    settings = with_sources(sources, tmp_path / "drawn", cache)
    with pytest.raises(InputError) as error:
        pipeline.run(settings, tmp_path / "job")
    assert "drawn0/stage1-seed0 does not fit: " in str(error.value)
    assert field in str(error.value)
    assert not (tmp_path / "job" / "plan.json").exists()


BARE = dataclasses.replace(dtvg.METHODS["dtvg"], bare_vectors=True)
SEED1 = plan.stage1_run("drawn0", 1)


@pytest.mark.parametrize(
    ("methods", "found"),
    [
        (["dtvg"], None),  # to be learned, but nobody knows the task "drawn0"
        ([dtvg.METHODS["dtvg"]], None),
        ([BARE], "drawn0/stage1-seed0"),
        (["other_seed_vectors"], "drawn0/stage1-seed0"),
        (["other_seed_vectors", "dtvg"], None),
        (["other_seed_vectors", "spot"], "drawn0/stage1-seed0"),
    ],
)  # fmt: skip
def test_another_seeds_prompt_is_taken_by_bare_vectors_only(
    cache, tmp_path, methods, found
):
    sources = draw(tmp_path / "drawn", 1)
    settings = with_sources(
        sources, tmp_path / "drawn", cache, methods=methods, seeds=[0, 1]
    )
    if found is None:
        with pytest.raises(InputError, match="unknown task 'drawn0'"):
            taken_prompts.find(settings)
    else:
        assert taken_prompts.find(settings)[SEED1].entry == found


def test_a_bare_vector_is_said(cache, tmp_path, capsys):
    sources = draw(tmp_path / "drawn", 1)
    settings = with_sources(
        sources, tmp_path / "drawn", cache, methods=[BARE], seeds=[0, 1]
    )
    backbone = dtvg.load_backbone("miniature")
    embedding = backbone.embedding(backbone.params)
    fits = {
        seed: lane_entries.fit(backbone, initial_prompt.p_init(embedding, P, seed))
        for seed in (0, 1)
    }
    takes = taken_prompts.find(settings)
    own = prompt_store.PromptStore(tmp_path / "own")
    read = taken_prompts.read(settings, takes, own, fits)
    own_seed, other = (read[plan.stage1_run("drawn0", seed)] for seed in (0, 1))
    np.testing.assert_array_equal(own_seed.arrays["tpv"], other.arrays["tpv"])
    [said] = capsys.readouterr().out.splitlines()  # of seed 1 only
    assert said.startswith(
        "drawn0/stage1-seed1  taken from drawn0/stage1-seed0 as a bare vector: "
        "p_init_digest is "
    )
    assert taken_prompts.as_json(takes)["drawn0/stage1-seed1"] == {
        "entry": "drawn0/stage1-seed0",
        "store": str(tmp_path / "drawn"),
    }


def test_what_a_store_lacks_is_learned_and_targets_always(cache, tmp_path):
    """The first store wins, prompts of stage 1 come before imported ones."""
    first, second = tmp_path / "first", tmp_path / "second"
    draw(first, 2, method="imported", stage=None)
    draw(second, 3)
    settings = with_sources(
        ["drawn0", "drawn2", "sst2", "superglue-cb"], first, cache, seeds=[0]
    )
    settings = dataclasses.replace(settings, prompts_from=[str(first), str(second)])
    taken = taken_prompts.find(settings)
    assert {run.task: one.entry for run, one in taken.items()} == {
        "drawn0": "drawn0/imported-seed0",
        "drawn2": "drawn2/stage1-seed0",
    }
    assert plan.measured_tasks(settings, taken) == ["sst2", "superglue-cb"]
    [program] = [one for one in plan.programs(settings, taken) if one.stage == 1]
    assert [run.task for run in program.runs] == ["sst2", "superglue-cb"]


@pytest.mark.parametrize(
    ("name", "hint"), [("nowhere", ""), ("job", ": give .*job/store")]
)
def test_a_folder_without_prompts_is_a_sentence(cache, tmp_path, name, hint):
    (tmp_path / "job" / "store").mkdir(parents=True)
    settings = with_sources(["sst2"], tmp_path / name, cache)
    with pytest.raises(InputError, match=f"holds no prompt of stage 1{hint}"):
        taken_prompts.find(settings)


def test_only_sources_may_be_unknown_tasks(cache, tmp_path):
    with pytest.raises(InputError, match="unknown task 'drawn0'"):
        with_sources([], tmp_path, cache, targets=["drawn0"])
