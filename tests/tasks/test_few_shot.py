"""A few rows for training: which they are by the papers' rules, for any task."""

import collections
import dataclasses

import numpy as np
import pytest
import seqio
import tfds_rows

import tasks.all  # noqa: F401 registers the tasks
from dtvg_jax.data import source, tokenise
from dtvg_jax.errors import InputError
from dtvg_jax.jobs import token_tables
from tasks import few_shot
from tasks.few_shot import Shots

# torch.randperm(10) with seed 42 begins 2 6 1 8 4 (tests/test_tasks_splits.py)
RANDPERM = [2, 6, 1, 8]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("few"))
    pair = lambda i: dict(sentence1=f"s{i}", sentence2="", label=i % 2, idx=90 - 10 * i)
    tfds_rows.prepare("glue/rte:2.0.0", folder, {"train": map(pair, range(10))})
    query = lambda i: dict(
        passage="", query=f"q{i}", entities=[], answers=["A", "B"],
        idx=dict(passage=0, query=i),
    )  # fmt: skip
    tfds_rows.prepare(
        "super_glue/record:1.0.2", folder, {"train": map(query, range(1010))}
    )
    fact = lambda i: dict(premise=f"p{i}", hypothesis="", label=i % 2)
    tfds_rows.prepare("sci_tail:1.0.0", folder, {"train": map(fact, range(12))})
    score = lambda i: dict(sentence1=f"s{i}", sentence2="", label=i / 2, idx=i)
    tfds_rows.prepare("glue/stsb:2.0.0", folder, {"train": map(score, range(11))})
    return folder


def inputs(name, data_dir, shots=None):
    task = seqio.get_mixture_or_task(name)
    task.source.tfds_dataset.override_data_dir(data_dir)
    return [row.inputs for row in source.text_rows(task, "train", shots)]


def test_random_k_is_the_beginning_of_the_permutation_by_rank(data_dir):
    # the row of rank r has idx 10 r, and that is s(9 - r)
    found = inputs("dtvg_rte", data_dir, ("random_k", 4, 42))
    assert {text.split()[2] for text in found} == {f"s{9 - r}" for r in RANDPERM}
    assert inputs("dtvg_rte", data_dir, ("random_k", 4, 43)) != found


def test_queries_are_chosen_before_they_are_repeated_for_each_answer(data_dir):
    found = inputs("dtvg_superglue_record", data_dir, ("random_k", 4, 42))
    queries = [text.split()[3] for text in found]
    # the rows left for training are those beyond the first 1,000 of the permutation
    order = few_shot.splits.permutation(1010)[1000:]
    assert collections.Counter(queries) == {f"q{order[i]}": 2 for i in RANDPERM}


def test_rows_without_an_order_of_their_own_are_taken_as_they_are_stored(data_dir):
    stored = inputs("dtvg_scitail", data_dir)
    chosen = few_shot.splits.permutation(12, 7)[:5]
    found = inputs("dtvg_scitail", data_dir, ("random_k", 5, 7))
    assert found == [stored[i] for i in sorted(chosen)]


@pytest.mark.parametrize(
    ("classes", "k", "expected"),
    [
        (2, 16, [(7, 9), (8, 8)]),  # seven of both, one more, and what comes
        (3, 32, [(10, 10, 10)]),  # 32 // 3 of each: a 31st is never reached
    ],
)
def test_balanced_k_takes_as_many_of_each_class(classes, k, expected):
    labels = [i % classes for i in range(300)]
    for seed in range(5):
        chosen = few_shot.choose(Shots("balanced_k", k, seed), 300, labels).tolist()
        counts = collections.Counter(labels[i] for i in chosen)
        assert tuple(sorted(counts.values())) in expected
        assert len(set(chosen)) == len(chosen)


def test_the_last_row_of_balanced_k_is_whatever_comes():
    """Two classes, k = 4: three of one class and one of the other can come."""
    labels = [i % 2 for i in range(100)]
    seen = set()
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(100).tolist()
        chosen = few_shot.choose(Shots("balanced_k", 4, seed), 100, labels).tolist()
        # The first three never hold three of a class; the fourth row of the walk on
        # which three are kept is taken as it is.
        place = order.index(chosen[2]) + 1
        assert chosen[3] == order[place]
        seen.add(sum(labels[i] for i in chosen))
    assert seen == {1, 2, 3}
    chosen = few_shot.choose(Shots("balanced_k", 16, 0), 99, [i % 3 for i in range(99)])
    assert len(chosen) == 16  # five of each and one more


def test_similarities_are_two_classes(data_dir):
    found = inputs("dtvg_stsb", data_dir, ("balanced_k", 6, 0))
    high = [int(text.split()[2][1:]) / 2 > 2.5 for text in found]
    assert len(high) == 6 and 2 <= sum(high) <= 4


@pytest.mark.parametrize(
    ("name", "shots", "sentence"),
    [
        (
            "dtvg_rte",
            ("random_k", 11, 0),
            "rte: there are 10 training rows, fewer than",
        ),
        ("dtvg_superglue_record", ("balanced_k", 4, 0), "free texts, so no classes"),
    ],
)
def test_what_cannot_be_chosen_is_a_sentence(name, shots, sentence, data_dir):
    with pytest.raises(InputError, match=sentence):
        inputs(name, data_dir, shots)


def test_rows_of_an_own_task_are_balanced_by_their_targets():
    rows = [tokenise.TextRow(str(i), "yn"[i % 2], None) for i in range(20)]
    chosen = few_shot.of_texts(rows, Shots("balanced_k", 8, 1))
    assert collections.Counter(row.targets for row in chosen) == {"y": 4, "n": 4}
    assert [int(r.inputs) for r in chosen] == sorted(int(r.inputs) for r in chosen)


def test_a_job_gives_each_seed_its_own_shots_and_sources_all_rows(cache):
    from dtvg_jax.formats.load import load_backbone
    from dtvg_jax.jobs import job
    from dtvg_jax.training import stages

    stage = stages.Stage(steps=1, learning_rate=0.1, warmup=0)
    few = job.Job(
        backbone="miniature", sources=["mnli"], targets=["superglue-cb"], stage1=stage,
        stage2=stage, seeds=[0, 1], inputs_length=32, targets_length=2, shots=4,
        cache_dir=str(cache),
    )  # fmt: skip
    vocabulary = load_backbone("miniature").vocabulary
    opened = token_tables.open_tables(few, vocabulary, lambda: None)
    assert token_tables.training_split(few, "mnli", 0) == "train"
    first, second = (
        opened["superglue-cb", token_tables.training_split(few, "superglue-cb", seed)]
        for seed in (0, 1)
    )
    assert (len(first), len(second)) == (4, 4)
    assert first.metadata.split_digest != second.metadata.split_digest
    assert len(opened["mnli", "train"]) == 4003
    more = dataclasses.replace(few, shots=16, shot_rule="balanced_k")
    opened = token_tables.open_tables(more, vocabulary, lambda: None)
    table = opened["superglue-cb", "train-seed0"]
    assert sorted(collections.Counter(table.golds).values()) == [5, 5, 6]
