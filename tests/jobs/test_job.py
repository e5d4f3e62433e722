"""A small job of both stages: what it leaves behind, and how it goes on."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from dtvg_jax.errors import InputError, Stopped
from dtvg_jax.jobs import job, job_folder, pipeline, plan
from dtvg_jax.store import entries, prompt_store
from dtvg_jax.training import metrics_log
from dtvg_jax.training.stages import Stage
from tasks.task_info import TASKS

STAGE = Stage(
    steps=6, learning_rate=0.1, batch_size=4, validate_every=3, log_every=2, warmup=1
)


@pytest.fixture(scope="module")
def small(cache) -> job.Job:
    """Two seeds, a source that is also a target, all kinds of methods."""
    return job.Job(
        backbone="miniature",
        sources=["sst2", "mrpc"],
        targets=["mrpc", "superglue-cb"],
        methods=["prompt_tuning", "spot", "dtvg"],
        seeds=[0, 1],
        prompt_length=4,
        inputs_length=32,
        targets_length=2,
        stage1=STAGE,
        stage2=dataclasses.replace(STAGE, optimiser="adamw_stage2"),
        validation_rows=20,
        test_rows=30,
        evaluation_batch_size=10,
        cache_dir=str(cache),
    )


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory) -> pathlib.Path:
    """The folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("jobs") / "undisturbed"
    pipeline.run(small, folder, config_gin="# none\n", command=["test"])
    return folder


def digests(folder: pathlib.Path) -> dict[str, str]:
    prompts = prompt_store.PromptStore(folder / "store")
    return {name: prompts.read(name).metadata.files for name in prompts.names()}


def results(folder: pathlib.Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_every_lane_is_tested_and_stored(small, finished):
    rows = results(finished)["rows"]
    lanes = [lane for program in plan.programs(small) for lane in program.lanes]
    assert len(lanes) == 2 * 3 + 2 * 2 * 3 == len(rows)
    stored = {f"store/{entries.name_of(lane.run)}" for lane in lanes}
    assert stored == {row["entry"] for row in rows}
    assert not any(row["failed"] for row in rows)


def test_scores_can_be_counted_again_from_the_predictions(finished):
    for row in results(finished)["rows"]:
        lines = (finished / row["predictions"]).read_text().splitlines()
        answers = [json.loads(line) for line in lines]
        assert len(answers) == row["examples"] == 30
        right = sum(a["prediction"] == a["target"] for a in answers)
        accuracy = row["metrics"].get("accuracy")
        assert accuracy == pytest.approx(100 * right / 30)


def test_entries_hold_what_the_method_made(small, finished):
    prompts = prompt_store.PromptStore(finished / "store")
    arrays, metadata = prompts.read("mrpc/dtvg-seed1")
    p_init = prompts.read_p_init(metadata.p_init_digest)
    sources = [prompts.read(f"{task}/stage1-seed1") for task in small.sources]
    np.testing.assert_array_equal(arrays["tpv"], arrays["prompt"] - p_init)
    assert arrays["group"].tolist()[1] == 0  # mrpc itself is no source of mrpc
    merged = p_init + arrays["target_scale"][:, None] * (
        arrays["target_prompt"] - p_init
    )
    for chosen, scale, source in zip(
        arrays["group"], arrays["source_scales"], sources, strict=True
    ):
        merged = merged + chosen * scale[:, None] * source.arrays["tpv"]
    np.testing.assert_allclose(arrays["prompt"], merged, atol=1e-6)


def test_the_log_has_the_steps_that_the_stage_names(finished):
    records = metrics_log.read(finished / "metrics.jsonl")
    # Step 0 of stage 2 is validated, too.
    for program, lanes, first in (("stage1", 6, []), ("stage2-dtvg", 4, [0])):
        ours = [r for r in records if r.program == program]
        train = [r.step for r in ours if isinstance(r, metrics_log.TrainRecord)]
        assert train == sorted([2, 3, 4, 6] * lanes)  # 3 and 6 are validated
        seen = [r for r in ours if isinstance(r, metrics_log.ValidationRecord)]
        validated = [r.step for r in seen]
        assert validated == sorted([*first, 3, 6] * lanes)


@pytest.mark.parametrize(
    "calls",
    [8, *(pytest.param(n, marks=pytest.mark.slow) for n in (12, 19, 33, 45))],
)
def test_a_stopped_job_goes_on_to_the_same_prompts(small, finished, tmp_path, calls):
    made = 0

    def stop():
        nonlocal made
        made += 1
        if made == calls:
            raise Stopped

    with pytest.raises(Stopped):
        pipeline.run(small, tmp_path, check=stop)
    pipeline.run(small, tmp_path)
    assert digests(tmp_path) == digests(finished)
    log = (tmp_path / "metrics.jsonl").read_bytes()
    assert log == (finished / "metrics.jsonl").read_bytes()


def test_a_finished_job_is_not_done_again(small, finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*.safetensors")}
    was = results(finished)
    calls = []
    pipeline.run(small, finished, check=lambda: calls.append(1))
    assert len(calls) == 3 * 3  # one per token table: nothing was trained or decoded
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*.safetensors")} == before
    assert results(finished) == was


@pytest.mark.slow
def test_a_lane_alone_ends_as_among_others(small, finished, tmp_path):
    alone = dataclasses.replace(
        small, sources=["sst2"], targets=[], seeds=[1], methods=[]
    )
    pipeline.run(alone, tmp_path)
    name = "sst2/stage1-seed1"
    ours = prompt_store.PromptStore(tmp_path / "store").read(name).arrays["prompt"]
    among = prompt_store.PromptStore(finished / "store").read(name).arrays["prompt"]
    # Products of other sizes are summed in another order, and Adam divides by small
    # second moments: the figure seen is below 1e-4 of prompts of size 1.
    np.testing.assert_allclose(ours, among, atol=1e-3)


def test_other_settings_are_refused(small, finished):
    stage1 = dataclasses.replace(STAGE, steps=7)
    other = dataclasses.replace(small, stage1=stage1, seeds=[0, 2])
    with pytest.raises(InputError, match=r"stage1.steps was 6, is 7") as error:
        pipeline.run(other, finished)
    assert "seeds was [0, 1], is [0, 2]" in str(error.value)


def test_a_folder_in_use_is_refused(small, tmp_path):
    with job_folder.locked(tmp_path):
        with pytest.raises(InputError, match=r"process \d+ on \S+ since .* works on"):
            pipeline.run(small, tmp_path)


def test_a_damaged_entry_is_named(small, tmp_path):
    first = dataclasses.replace(small, targets=[], methods=[], sources=["sst2"])
    pipeline.run(first, tmp_path)
    shutil.rmtree(tmp_path / "measured")
    path = tmp_path / "store/sst2/stage1-seed0/prompt.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"prompt.safetensors"):
        pipeline.run(first, tmp_path)


def test_lanes_that_diverge_are_named_and_keep_their_start(
    small, tmp_path, finished, capfd
):
    # Its weight decay makes numbers that are not finite; a huge prompt alone does not.
    wild = dataclasses.replace(STAGE, learning_rate=1e38, optimiser="adamw_stage1")
    first = dataclasses.replace(small, stage2=wild, methods=["prompt_tuning"])
    made = pipeline.run(first, tmp_path)
    failed = [row for row in made.results.rows if row.failed]
    assert {row.stage for row in failed} == {2} and len(failed) == 4
    named = "mrpc, prompt_tuning, seed 0, stage 2: numbers are not finite ("
    assert f"stage2-prompt_tuning  {named}" in capfd.readouterr().out
    assert f"- {named}" in (tmp_path / "results.md").read_text()
    prompts = prompt_store.PromptStore(tmp_path / "store")
    kept = prompts.read("mrpc/prompt_tuning-seed0").arrays["prompt"]
    start = prompts.read("mrpc/stage1-seed0").arrays["prompt"]
    np.testing.assert_array_equal(kept, start)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sources": ["sst"]}, "unknown task 'sst': did you mean 'sst2'"),
        ({"methods": ["dtgv"]}, "unknown method 'dtgv': did you mean 'dtvg'"),
        ({"prompt_length": 0}, "prompt_length = 0: it must be a whole number"),
        ({"seeds": [1, 1]}, "seeds names 1 twice"),
        ({"seeds": [-1]}, r"seeds = \[-1\]: it must be a list of whole numbers from 0"),
        ({"sources": "sst2"}, "sources = 'sst2': it must be a list"),
        ({"sources": [], "targets": []}, "at least one seed and one source"),
        ({"stage1": 3}, "stage1 must be a Stage"),
        ({"download": "no"}, "download = 'no': it must be True or False"),
        ({"prompt_length": True}, "prompt_length = True: it must be a whole number"),
        (
            {"sources": list(TASKS)[:13], "methods": ["exhaustive"]},
            "method 'exhaustive' takes at most 12 sources, not 13",
        ),
    ],
)
def test_settings_that_cannot_be_are_sentences(small, change, sentence):
    with pytest.raises(InputError, match=sentence):
        dataclasses.replace(small, **change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"backbone": "nowhere"}, "the backbone 'nowhere' is not there"),
        ({"data_dir": "nowhere"}, "data_dir = .nowhere. is not a folder"),
        ({"prompt_length": 433}, "prompt_length = 433: P_init takes different rows"),
    ],
)
def test_what_is_missing_is_a_sentence(small, tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence):
        pipeline.run(dataclasses.replace(small, **change), tmp_path / "job")
    # The corrected job may use the same folder.
    assert not (tmp_path / "job" / "plan.json").exists()


def test_a_folder_that_cannot_be_made_is_a_sentence(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        pipeline.run(small, tmp_path / "file" / "job")


def test_a_job_of_an_earlier_version_is_refused(small, tmp_path):
    (tmp_path / "plan.json").write_text('{"format": 1, "settings": {}}')
    with pytest.raises(InputError, match="another version of dtvg_jax"):
        pipeline.run(small, tmp_path)


def test_results_are_written_and_never_read(small, finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    (folder / "results.json").write_text("not JSON")
    pipeline.run(small, folder)
    assert results(folder) == results(finished)


@pytest.mark.parametrize(
    ("part", "old", "new", "said"),
    [
        ("stage1", '"examples": 30', '"examples": 29', "is not as it was written"),
        ("sources", None, None, "is not JSON"),
        ("stage1", "another part", "", "is of other prompts than the store's"),
    ],
)
def test_a_changed_measurement_is_said_and_measured_again(
    small, finished, tmp_path, capfd, part, old, new, said
):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    path = folder / "measured" / f"{part}.json"
    if old == "another part":
        shutil.copy(path.with_stem("stage2-dtvg"), path)
    else:
        path.write_text(path.read_text().replace(old, new, 1) if old else "")
    pipeline.run(small, folder)
    assert f"{path} {said}" in capfd.readouterr().out
    assert results(folder)["rows"] == results(finished)["rows"]
    assert results(folder)["single_source"] == results(finished)["single_source"]


def test_a_job_without_its_plan_is_refused(small, finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    (folder / "plan.json").unlink()
    with pytest.raises(InputError, match="plan.json is gone"):
        pipeline.run(small, folder)


def test_rows_that_changed_under_a_job_are_named(small, finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    path = folder / "plan.json"
    said = json.loads(path.read_text())
    said["splits"]["mrpc/train"] = "0" * 64
    path.write_text(json.dumps(said))
    with pytest.raises(InputError, match="the data of mrpc/train changed"):
        pipeline.run(small, folder)
