"""Which rows are in which split: against the reference's permutation and real data."""

import collections
import hashlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
import tfds_rows

import tasks.all  # noqa: F401 registers the tasks
from tasks import list as task_list
from tasks import splits
from tasks.task_info import SPLITS, TASKS

# rows, first entries of torch.randperm(rows) with seed 42, SHA-256 of all of it
PERMUTATIONS = [
    (10, "2 6 1 8 4 5 0 9 3 7", None),
    (56, "22 8 36 39 34 28 26 6 30 17", "f3719d53600d"),
    (104, "70 20 30 58 2 0 74 48 78 22", "ba1a427d183e"),
    (277, "207 84 253 243 190 28 165 111 87 170", "602c74aa5631"),
    (408, "30 63 342 322 6 302 94 83 158 212", "a3359d46fe53"),
    (638, "292 360 246 12 52 100 570 549 498 98", "8d295903e8f5"),
    (1043, "911 408 813 657 710 526 977 467 768 440", "31ecdc81bc77"),
    (1304, "974 540 48 1148 1230 682 42 172 750 912", "39fae08a4873"),
    (1500, "42 340 1028 766 1150 1160 1300 791 458 989", "a218e76194a7"),
    (3270, "282 3153 2578 2833 2504 90 2626 3238 1870 749", "c64c17317973"),
    (4848, "3270 1987 3664 967 3242 1717 418 2042 1798 1271", "3792e1f192f7"),
    (40_398, "29580 25329 18802 22732 25010", "d022d05ffe8c"),
    (67_349, "6677 49712 38268 32909 23395", "788ecc0e4031"),
    (72_928, "64646 47571 14286 37642 63466", "d569c26091e8"),
    (74_160, "32982 23080 73240 2449 46410", "fb6b9da65528"),
    (87_599, "57105 73776 40320 7993 17885", "cc81c20b4ce5"),
    (100_730, "80172 67041 75942 60550 30118", "daccf5127817"),
    (104_071, "12095 32958 35594 51657 25960", "b08506a73297"),
    (104_743, "99291 42864 63734 96877 44206", "0b1e3d20dd42"),
    (117_384, "7206 115916 36626 102526 101490", "cf6e0b8aea4b"),
    (363_846, "74376 255378 229510 126322 295150", "3c86c8ba98cf"),
    (560_000, "317542 92177 341460 490635 72486", "78dd449f682a"),
]


@pytest.mark.parametrize(("rows", "first", "sha"), PERMUTATIONS)
def test_permutation_is_that_of_torch(rows, first, sha):
    order = splits.permutation(rows)
    expected = [int(number) for number in first.split()]
    assert order[: len(expected)].tolist() == expected
    if sha:
        found = hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()
        assert found.startswith(sha)


def test_permutation_of_few_rows():
    assert splits.permutation(0).tolist() == []
    assert splits.permutation(1).tolist() == [0]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("splits"))
    pair = lambda i, idx: dict(sentence1=f"s{i}", sentence2="", label=0, idx=idx)
    tfds_rows.prepare(
        "glue/mrpc:2.0.0",
        folder,
        {  # idx has gaps, and keys are not in its order
            "train": [pair(i, i) for i in range(3)],
            "validation": [pair(i, 90 - 10 * i) for i in range(10)],
        },
    )
    tfds_rows.prepare(
        "glue/rte:2.0.0",
        folder,
        {"train": [pair(0, 0)], "validation": [pair(0, 5), pair(1, 5)]},
    )
    few = [dict(question="", sentence="", label=0, idx=i) for i in range(1000)]
    tfds_rows.prepare("glue/qnli:2.0.0", folder, {"train": few, "validation": few[:1]})
    query = lambda i: dict(
        passage="", query=f"{i}", entities=[], answers=["A", "B"],
        idx=dict(passage=-i, query=i),
    )  # fmt: skip
    tfds_rows.prepare(
        "super_glue/record:1.0.2",
        folder,
        {"train": map(query, range(1010)), "validation": map(query, range(2))},
    )
    question = lambda i: dict(
        id=f"{i}", title="", context="", question=f"{i}",
        answers=dict(text=["A"], answer_start=[0]),
    )  # fmt: skip
    tfds_rows.prepare(
        "squad/v1.1:3.0.0",
        folder,
        {"train": map(question, range(1003)), "validation": map(question, range(2))},
    )
    return folder


def test_halves_go_by_the_rank_of_idx_where_it_has_gaps(data_dir):
    # torch.randperm(10) is 2 6 1 8 4 | 5 0 9 3 7, and rank r is the row 9 - r
    expected = {
        "train": {"s0", "s1", "s2"},
        "validation": {"s7", "s3", "s8", "s1", "s5"},
        "test": {"s4", "s9", "s0", "s6", "s2"},
    }
    for split, texts in expected.items():
        rows = tfds_rows.read("dtvg_mrpc", split, data_dir)
        found = [row["inputs_pretokenized"].decode().split()[2] for row in rows]
        assert sorted(found) == sorted(texts)
    validation = splits.members(TASKS["mrpc"], "validation", data_dir)
    assert validation.tolist() == [10, 20, 40, 60, 80]


def test_members_do_not_depend_on_the_order_of_reading(data_dir):
    source = splits.SplitSource(TASKS["mrpc"])
    source.tfds_dataset.override_data_dir(data_dir)
    shuffled = source.get_dataset("test", shuffle=True, seed=7)
    idx = sorted(int(row["idx"]) for row in shuffled.as_numpy_iterator())
    assert idx == splits.members(TASKS["mrpc"], "test", data_dir).tolist()
    assert source.num_input_examples("test") == 5


def test_record_is_carved_by_query_before_answers_become_rows(data_dir):
    read = lambda split: tfds_rows.read("dtvg_superglue_record", split, data_dir)
    queries = lambda rows: [int(row["inputs_pretokenized"].split()[3]) for row in rows]
    train, validation = read("train"), read("validation")
    order = splits.permutation(1010)
    assert sorted(queries(validation)) == sorted(order[:1000])  # one row a query
    assert sorted(queries(train)) == sorted([*order[1000:], *order[1000:]])
    assert collections.Counter(r["targets_pretokenized"] for r in train) == {
        b"A": 10, b"B": 10,
    }  # fmt: skip
    assert all(row["answers"].tolist() == [b"A", b"B"] for row in validation)
    assert len(read("test")) == 2


def test_stored_order_is_carved_where_there_is_no_idx(data_dir):
    stored = tfds.builder("squad/v1.1:3.0.0", data_dir=data_dir).as_dataset(
        split="train"
    )
    order = [row["question"].decode() for row in stored.as_numpy_iterator()]
    assert order != sorted(order, key=int)
    found = {}
    for split in ("train", "validation"):
        rows = tfds_rows.read("dtvg_squad", split, data_dir)
        found[split] = [row["inputs_pretokenized"].split()[2].decode() for row in rows]
    assert found == {"train": order[1000:], "validation": order[:1000]}


def test_sets_of_concepts_stay_together(tmp_path):
    row = lambda i: dict(
        gem_id="g", gem_parent_id="g", concept_set_id=i // 3, concepts=[f"c{i // 3}"],
        target=f"t{i}", references=[],
    )  # fmt: skip
    tfds_rows.prepare(
        "gem/common_gen:1.1.0",
        str(tmp_path),
        {"train": map(row, range(1200)), "validation": map(row, range(6))},
    )
    sets = {}
    for split, rows in (("train", 198), ("validation", 1002), ("test", 6)):
        read = tfds_rows.read("dtvg_common_gen", split, str(tmp_path))
        assert len(read) == rows
        assert splits.count(TASKS["common_gen"], split, str(tmp_path)) == rows
        sets[split] = {row["inputs_pretokenized"] for row in read}
    assert not sets["train"] & sets["validation"]
    # 333 sets have 999 rows, so that the next is taken too
    first = {
        f"common_gen concepts: c{i}".encode() for i in splits.permutation(400)[:334]
    }
    assert sets["validation"] == first


def test_yelp_trains_on_the_hundred_thousand_rows_behind_validation():
    bounds = {s: p.bounds(560_000) for s, p in splits.RULES["yelp"].items()}
    assert bounds["train"] == (1_000, 101_000)
    assert bounds["validation"] == (0, 1_000)


def test_answers_to_one_question_may_stand_in_both_halves(shared):
    data_dir = str(shared / "real" / "tfds")
    stored = tfds.builder("super_glue/multirc:1.0.2", data_dir=data_dir).as_dataset(
        split="validation"
    )
    rows = [row["idx"] for row in stored.as_numpy_iterator()]
    ids = sorted((r["paragraph"], r["question"], r["answer"]) for r in rows)
    info = TASKS["superglue-multirc"]
    first = splits.members(info, "validation", data_dir)
    expected = sorted(ids[rank] for rank in splits.permutation(500)[:250])
    found = [(int(k) >> 40, int(k) >> 20 & 0xFFFFF, int(k) & 0xFFFFF) for k in first]
    assert found == expected


@pytest.mark.parametrize(
    ("task", "split", "sentence"),
    [
        ("sst2", "train", r"'train' of the data set glue/sst2:2.0.0 is not prepared in "
         r".*/glue/sst2/2.0.0: .*python -m tasks.miniature --out DIR.*tfds build glue/"
         "sst2 --data_dir"),
        ("qnli", "train", "has 1000 rows, too few .* more than 1000 there"),
        ("rte", "validation", "repeat idx, by which rte orders"),
        ("rte", "dev", "rte has no split 'dev': it has train, validation, test"),
    ],
)  # fmt: skip
def test_data_that_do_not_do_are_named(task, split, sentence, data_dir):
    source = splits.SplitSource(TASKS[task])
    source.tfds_dataset.override_data_dir(data_dir)
    with pytest.raises(ValueError, match=sentence):
        source.get_dataset(split)


def test_the_list_names_every_task_and_what_is_prepared(data_dir, capsys):
    assert task_list.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(TASKS)
    assert lines[1].split() == [
        "mnli", "glue/mnli:2.0.0", "source", "accuracy", "256/16",
        "392,702", "9,832", "9,815",
    ]  # fmt: skip
    assert task_list.main(["--tfds_data_dir", data_dir]) == 0
    counts = {
        line.split()[0]: line.split()[-3:]
        for line in capsys.readouterr().out.splitlines()[1:-1]
    }
    assert counts["mrpc"] == ["3", "5", "5"]
    assert counts["superglue-record"] == ["10", "1,000", "2"]
    assert counts["sst2"] == ["-", "-", "-"]
    assert task_list.main(["--tfds_data_dir", data_dir + "x"]) == 2


# task, rows of validation; ranks that open each half of the permutation
REAL_HALVES = [
    (
        "rte",
        "207 84 253 243 190 28 165 111 87 170",
        "152 221 79 245 103 208 60 159 210 155",
    ),
    (
        "mrpc",
        "30 63 342 322 6 302 94 83 158 212",
        "11 114 86 241 67 400 354 157 284 165",
    ),
    (
        "cola",
        "911 408 813 657 710 526 977 467 768 440",
        "334 85 10 327 486 13 944 116 892 754",
    ),
    ("superglue-cb", "22 8 36 39 34 28 26 6 30 17", "16 1 25 2 5 55 53 21 20 19"),
    (
        "superglue-wic",
        "292 360 246 12 52 100 570 549 498 98",
        "331 310 194 300 422 411 29 584 126 216",
    ),
    (
        "superglue-boolq",
        "282 3153 2578 2833 2504 90 2626 3238 1870 749",
        "3027 3108 2280 1048 2016 1799 2733 174 1222 1560",
    ),
]
FIELDS = {
    "rte": ("sentence1", "sentence2"),
    "mrpc": ("sentence1", "sentence2"),
    "cola": ("sentence",),
    "superglue-cb": ("premise", "hypothesis"),
    "superglue-wic": ("sentence1", "sentence2", "word"),
    "superglue-boolq": ("question", "passage"),
}


@pytest.mark.parametrize(("task", "validation", "test"), REAL_HALVES)
def test_real_halves_are_those_of_the_rule(task, validation, test, shared):
    data_dir = str(shared / "real" / "tfds")
    stored = tfds.builder(TASKS[task].builder, data_dir=data_dir).as_dataset(
        split="validation"
    )
    rows = sorted(stored.as_numpy_iterator(), key=lambda row: row["idx"])
    texts = []
    for row in rows:
        shown = [f"{name}: {row[name].decode()}" for name in FIELDS[task]]
        texts.append(" ".join([task, *shown]))
    order = splits.permutation(len(rows))
    half = len(rows) // 2
    parts = {"validation": order[:half], "test": order[half:]}
    for (split, ranks), first in zip(parts.items(), (validation, test), strict=True):
        first = [int(rank) for rank in first.split()]
        assert ranks[:10].tolist() == first
        read = tfds_rows.read(TASKS[task].seqio_name, split, data_dir)
        found = [row["inputs_pretokenized"].decode() for row in read]
        assert {texts[rank] for rank in first} <= set(found)
        assert sorted(found) == sorted(texts[rank] for rank in ranks)


# digits over all rows of the stored splits read, as the data's own README counts them
REAL_CLASSES = [
    ("sst2", {"0": 1333 + 428, "1": 1667 + 444}),
    ("qnli", {"0": 1495 + 504, "1": 1505 + 496}),
    ("qqp", {"0": 1905 + 623, "1": 1095 + 377}),
    ("mnli", {"0": 1031 + 355 + 345, "1": 971 + 320 + 319, "2": 998 + 325 + 335}),
    ("rte", {"0": 1249 + 146, "1": 1241 + 131}),
    ("mrpc", {"0": 1194 + 129, "1": 2474 + 279}),
    ("cola", {"0": 2526 + 322, "1": 6009 + 721}),
    ("superglue-boolq", {"0": 960 + 1237, "1": 1540 + 2033}),
    ("superglue-cb", {"0": 115 + 23, "1": 119 + 28, "2": 16 + 5}),
    ("superglue-wic", {"0": 2714 + 319, "1": 2714 + 319}),
    ("superglue-multirc", {"0": 311 + 286, "1": 284 + 214}),
    ("superglue-wsc.fixed", {"0": 295 + 66, "1": 259 + 38}),
    ("scitail", {"0": 479 + 226, "1": 725 + 277}),
]


@pytest.mark.parametrize(("task", "expected"), REAL_CLASSES)
def test_real_classes_are_kept_and_no_row_is_in_two_splits(task, expected, shared):
    info = TASKS[task]
    data_dir = str(shared / "real" / "tfds")
    source = splits.SplitSource(info)
    source.tfds_dataset.override_data_dir(data_dir)
    classes = collections.Counter()
    seen = collections.Counter()
    for split in SPLITS:
        dataset = source.get_dataset(split, shuffle=False)
        labels = [row["label"] for row in dataset.as_numpy_iterator()]
        classes.update(str(label) for label in labels)
        assert len(labels) == splits.count(info, split, data_dir)
        stored = splits.RULES[info.rule][split].stored
        rows = splits.members(info, split, data_dir)
        assert (np.diff(rows) > 0).all()
        seen.update((stored, row) for row in rows.tolist())
    assert classes == expected
    assert max(seen.values()) == 1


def test_digests_are_the_same_every_time_and_differ_between_splits(shared):
    data_dir = str(shared / "real" / "tfds")
    found = [splits.digest(TASKS["rte"], split, data_dir)[:16] for split in SPLITS]
    assert found == ["13d8e6225bf53c2b", "907c176c7c61651b", "5350359861c6e779"]
