"""A method that looks at rows, through a job and out of its store."""

import dataclasses
import json

import numpy as np
import pytest
import tiny_job

import dtvg_jax as dtvg
from dtvg_jax.jobs import job, pipeline, token_tables
from dtvg_jax.methods import attempt
from dtvg_jax.store import entries, prompt_store
from dtvg_jax.training.stages import Stage

STAGE = Stage(4, 0.1, batch_size=4, warmup=0, validate_every=2)
TASK, ENTRY = "superglue-cb", "superglue-cb/attempt-seed3"


def settings(cache) -> job.Job:
    return dataclasses.replace(
        tiny_job.make(cache),
        targets=[TASK, "mrpc"],
        # Rows that differ get prompts that differ much.
        methods=[attempt.Attempt(tau=-3.0), "dtvg"],
        seeds=[3],
        inputs_length=64,
        stage1=STAGE,
        stage2=STAGE,
    )


@pytest.mark.slow
def test_stored_prompts_answer_rows_as_the_job_did(cache, tmp_path):
    report = pipeline.run(settings(cache), tmp_path / "job")
    learned = [row for row in report.results.rows if row.stage == 2]
    assert [row.method for row in learned] == ["attempt", "attempt", "dtvg", "dtvg"]
    assert not any(row.failed for row in learned)
    store = prompt_store.PromptStore(tmp_path / "job" / "store")
    arrays = store.read(ENTRY).arrays
    for number, source in enumerate(settings(cache).sources):
        tpv = store.read(f"{source}/stage1-seed3").arrays["tpv"]
        np.testing.assert_array_equal(arrays["row.context.sources"][number], tpv)
    itself = store.read("mrpc/attempt-seed3").arrays["row.context.available"]
    assert itself.tolist() == [True, False]

    backbone = dtvg.load_backbone("miniature")
    asked = dtvg.EvaluateSettings(
        prompts=[ENTRY, f"{TASK}/dtvg-seed3"],
        rows=30,
        batch_size=8,
        cache_dir=str(cache),
    )
    for result in dtvg.evaluate(backbone, store, tmp_path / "again", asked):
        name = entries.parse(result.entry).flat
        before = tmp_path / "job" / "predictions" / f"{name}-test.jsonl"
        again = tmp_path / "again" / result.predictions
        assert again.read_text() == before.read_text()

    tables = token_tables.open_tables(settings(cache), backbone.vocabulary, print)
    table = tables[TASK, "test"]
    ids = np.split(table.inputs, table.input_offsets[1:-1])
    texts = backbone.vocabulary.decode([row.tolist() for row in ids])
    lines = [json.dumps({"prompt": ENTRY, "inputs": text}).encode() for text in texts]
    asked_of_lines = dtvg.PredictSettings(inputs_length=64, targets_length=2)
    answers = dtvg.predict(backbone, store, lines, asked_of_lines)
    said = (tmp_path / "job/predictions/superglue-cb-attempt-seed3-test.jsonl").open()
    expected = [json.loads(line)["prediction"] for line in said]
    assert [answer.get("prediction") for answer in answers] == expected
