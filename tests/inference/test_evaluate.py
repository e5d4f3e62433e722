"""Stored prompts on splits: one program for many, two ways to answer, the command."""

import dataclasses
import itertools
import json
import os
import socket
import subprocess
import sys

import fake_table
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax.data import catalogue, prepared, token_table, tokenise
from dtvg_jax.errors import InputError
from dtvg_jax.formats.load import load_backbone
from dtvg_jax.inference import (
    predict_lines,
    ranking,
    split_decoding,
    stored_prompts,
)
from dtvg_jax.inference.ranking import Scoring
from dtvg_jax.inference.split_decoding import Setup
from dtvg_jax.models.backbone import token_loss
from dtvg_jax.store import entries as store_entries
from dtvg_jax.store import prompt_store
from dtvg_jax.store.entries import Metadata
from dtvg_jax.training import placement
from tasks import task_info

TASKS = ("sst2", "mnli", "mrpc", "superglue-cb")
LENGTHS = (32, 2)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("miniature")


@pytest.fixture(scope="module")
def tables(backbone, cache):
    builders = [task_info.TASKS[task].builder for task in TASKS]
    data_dir = prepared.folder("miniature", cache, builders)
    settings = token_table.TableSettings(backbone.vocabulary, LENGTHS, cache, data_dir)
    return {
        task: token_table.head(
            token_table.token_table(task, "test", settings),
            20 + 7 * number,
        )
        for number, task in enumerate(TASKS)
    }


@pytest.fixture(scope="module")
def prompts(backbone, tmp_path_factory) -> prompt_store.PromptStore:
    """A prompt of 4 random rows for each task, as a job would have stored it."""
    made = prompt_store.PromptStore(tmp_path_factory.mktemp("store"))
    rng = np.random.default_rng(0)
    for task in TASKS:
        prompt = rng.normal(size=(4, 96)).astype(np.float32)
        about = Metadata(
            task=task,
            method="dtvg",
            seed=0,
            backbone_digest=backbone.digest,
            vocabulary_digest=backbone.vocabulary.digest,
            prompt_length=4,
            label_style="digits",
            lengths=LENGTHS,
        )
        made.write({"prompt": prompt}, about)
    return made


def entries(prompts):
    return {name: prompts.read(name) for name in prompts.names()}


def answer(trials, found, tables, backbone, way):
    setup = Setup(backbone, placement.make(), 8)
    return stored_prompts.answer(trials, found, tables, setup, way)


@pytest.mark.parametrize("way", Scoring)
def test_all_in_one_program_are_answered_as_each_alone(prompts, tables, backbone, way):
    found = entries(prompts)
    planned = stored_prompts.plan_trials(found, TASKS, True)
    assert len(planned) == len(TASKS) ** 2
    together = answer(planned, found, tables, backbone, way)
    assert [len(given) for given in together] == [20, 27, 34, 41] * len(TASKS)
    for trial, given in list(zip(planned, together, strict=True))[::3]:
        one = {trial.entry: found[trial.entry]}
        assert answer([trial], one, tables, backbone, way) == [given]


@pytest.mark.slow
def test_ranking_takes_the_label_of_least_loss(prompts, tables, backbone):
    found = entries(prompts)
    trial = stored_prompts.Trial("mnli/dtvg-seed0", "mnli")
    [given] = answer([trial], found, tables, backbone, Scoring.RANK)
    table, prompt = tables["mnli"], jnp.asarray(found[trial.entry].arrays["prompt"])
    labels = backbone.vocabulary.encode(["0", "1", "2"])
    for row in range(5):
        ids = table.inputs[table.input_offsets[row] : table.input_offsets[row + 1]]
        losses = []
        for tokens in labels:
            targets = jnp.array([[*tokens, backbone.vocabulary.eos_id]])
            logits = backbone.logits(
                backbone.params, prompt, jnp.asarray(ids)[None], targets
            )
            losses.append(float(token_loss(logits, targets)))
        assert given[row] == str(int(np.argmin(losses)))


def test_lines_are_ranked_as_splits_are(prompts, tables, backbone):
    """`predict` gives the labels of `evaluate`, and their likelihoods."""
    found, rows = entries(prompts), 6
    few = {task: token_table.head(tables[task], rows) for task in TASKS}
    trials = [stored_prompts.Trial(f"{task}/dtvg-seed0", task) for task in TASKS]
    expected = answer(trials, found, few, backbone, Scoring.RANK)
    likelihoods = split_decoding.rank(
        ranking.make_rank(backbone),
        Setup(backbone, placement.make(), 8),
        store_entries.prompts_of([found[trial.entry] for trial in trials]),
        [split_decoding.Pair(k, few[task]) for k, task in enumerate(TASKS)],
        [stored_prompts.label_texts(few[task], backbone.vocabulary) for task in TASKS],
    )
    texts = []
    for table in few.values():
        bounds = itertools.pairwise(table.input_offsets)
        ids = [table.inputs[first:last].tolist() for first, last in bounds]
        texts.append(backbone.vocabulary.decode(ids))
    lines = [
        json.dumps({"task": task, "inputs": texts[k][row]}).encode()
        for row in range(rows)
        for k, task in enumerate(TASKS)
    ]
    settings = predict_lines.PredictSettings(scoring=Scoring.RANK, batch_size=4)
    given = list(predict_lines.predict(backbone, prompts, lines, settings))
    for k in range(len(TASKS)):
        mine = given[k :: len(TASKS)]
        assert [one["prediction"] for one in mine] == expected[k]
        scores = [one["score"] for one in mine]
        np.testing.assert_allclose(scores, likelihoods[k].max(axis=1), atol=1e-3)
    assert len({one["prediction"] for one in given}) > 1


def test_a_prompt_of_a_mixture_goes_with_all_its_tasks(prompts):
    [entry] = [prompts.read("mrpc/dtvg-seed0")]
    metadata = dataclasses.replace(entry.metadata, task="dtvg_generation")
    found = {"dtvg_generation/stage1-seed0": entry._replace(metadata=metadata)}
    planned = stored_prompts.plan_trials(found, (), False)
    assert [trial.task for trial in planned] == ["e2e", "common_gen", "web_nlg"]
    assert len(stored_prompts.plan_trials(found, ["e2e"], False)) == 1


def test_prompts_go_with_their_own_tasks(prompts):
    found = entries(prompts)
    own = stored_prompts.plan_trials(found, (), False)
    assert {(t.entry, t.task) for t in own} == {(f"{t}/dtvg-seed0", t) for t in TASKS}
    assert len(stored_prompts.plan_trials(found, ["mrpc"], False)) == 1
    with pytest.raises(InputError, match="none of the prompts was learned for rte"):
        stored_prompts.plan_trials(found, ["rte"], False)


@pytest.mark.parametrize(
    "task, style, labels",
    [
        ("mrpc", "digits", ("0", "1")),
        ("mrpc", "reference", ("0", "1")),
        ("mrpc", "words", ("not_equivalent", "equivalent")),
        ("superglue-multirc", "digits", ("0", "1")),
        ("superglue-multirc", "words", ("False", "True")),
        ("stsb", "digits", None),
        ("squad", "words", None),
    ],
)
def test_the_labels_of_the_catalogue(task, style, labels):
    info = catalogue.known()[task]
    assert catalogue.scoring(info, style).labels == labels


def labelled(folder, labels, targets=("no", "perhaps"), lengths=(8, 8)):
    rows = [tokenise.TextRow("x", target, target) for target in targets]
    how = catalogue.Scoring((), labels=labels)
    table = fake_table.make(folder, rows, lengths=lengths, scoring=how)
    return stored_prompts.label_texts(table, fake_table.ByteVocabulary())


def test_targets_are_among_the_labels_that_are_ranked(tmp_path):
    labels = ("no", "perhaps", "yes")
    assert labelled(tmp_path / "all", labels) == labels
    # Truncated alike, "per" and the end.
    assert labelled(tmp_path / "short", labels, lengths=(8, 4)) == labels
    with pytest.raises(
        InputError, match="is 'perhaps', .* none of its labels 'no', 'y"
    ):
        labelled(tmp_path / "fewer", ("no", "yes"))
    with pytest.raises(InputError, match="no fixed labels.*or describe its labels"):
        labelled(tmp_path / "none", None)


def command(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dtvg_jax.evaluate", *flags],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


def test_the_command(prompts, tables, cache, tmp_path):
    flags = [f"--store={prompts.folder}", f"--cache_dir={cache}", f"--out={tmp_path}"]
    done = command(*flags, "--rows=10", "--tasks=mrpc,sst2", "--batch_size=5")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {row["task"] for row in rows} == {"mrpc", "sst2"}
    assert all(row["examples"] == 10 for row in rows) and "mrpc" in done.stdout
    wrong = command(*flags, "--prompts=mrpc/dtgv-seed0")
    assert wrong.returncode == 2
    assert "error: no entry 'mrpc/dtgv-seed0'" in wrong.stderr


@pytest.mark.slow
def test_two_processes_find_what_one_finds(prompts, tables, cache, tmp_path):
    with socket.socket() as found:
        found.bind(("localhost", 0))
        address = f"localhost:{found.getsockname()[1]}"
    flags = [f"--store={prompts.folder}", f"--cache_dir={cache}", "--tasks=mrpc,sst2"]
    flags += ["--rows=30", "--batch_size=4"]
    assert command(*flags, f"--out={tmp_path / 'one'}").returncode == 0
    meeting = [f"--coordinator_address={address}", "--num_processes=2"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "dtvg_jax.evaluate", *flags, *meeting]
            + [f"--out={tmp_path / 'two'}", f"--process_id={number}"],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert ["mrpc" in out for out, _ in said] == [True, False]
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / part).rglob("*.json*")}
        for part in ("one", "two")
    )
    assert one == two and len(one) == 3


@pytest.mark.parametrize("content", ['{"format": 2, "rows": []}', "not JSON"])
def test_results_of_a_job_are_not_replaced(prompts, backbone, tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match="is not (replaced|JSON)"):
        stored_prompts.evaluate(backbone, prompts, tmp_path)
    assert (tmp_path / "results.json").read_text() == content
