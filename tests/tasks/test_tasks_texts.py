"""Literal inputs, targets and gold answers of every task, in both conventions."""

import pytest
import seqio
import tensorflow as tf
import tfds_rows
from task_cases import CASES, GOLDS, REFERENCE, SCORES

import tasks.all  # noqa: F401 registers the tasks
from tasks import formats
from tasks.task_info import CONVENTIONS, KNOWN, TASKS


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("texts"))
    stored = {}
    for task, _, split, row, *_ in CASES:
        stored.setdefault(TASKS[task].builder, {})[split] = [row]
    hidden = dict(sentence1="?", sentence2="?", label=-1, idx=1)
    stored["glue/rte:2.0.0"]["train"].append(hidden)
    for builder, splits in stored.items():
        tfds_rows.prepare(builder, folder, splits)
    return folder


@pytest.mark.parametrize("style", CONVENTIONS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_input_target_gold_and_scores(case, style, data_dir):
    task, split, _, _, *texts = case
    inputs, targets = texts[2:] if style == "words" else texts[:2]
    gold = GOLDS.get(task, targets)
    if task == "superglue-multirc":
        gold = {"label": targets, "group": "3-7"}
    if style == "reference":
        others = REFERENCE.get(task, (None, None, None))
        inputs, targets, gold = (
            other or same
            for other, same in zip(others, (inputs, targets, gold), strict=True)
        )
    name = TASKS[task].seqio_name + CONVENTIONS[style]
    (row,) = tfds_rows.read(name, split, data_dir)  # the hidden row is not there
    assert row["inputs_pretokenized"].decode() == inputs
    assert row["targets_pretokenized"].decode() == targets
    # ids of the byte vocabulary: each byte raised by 3, then 1 as the end
    assert row["inputs"].tolist() == [byte + 3 for byte in inputs.encode()] + [1]
    assert row["targets"].tolist() == [byte + 3 for byte in targets.encode()] + [1]

    seqio_task = seqio.get_mixture_or_task(name)
    assert seqio_task.postprocess_fn("wrong", example=row, is_target=True) == gold
    metrics = TASKS[task].metrics
    if style == "reference" and task == "superglue-multirc":
        metrics = ("f1",)
    for k, prediction in enumerate((f" {targets} ", "wrong")):
        guess = seqio_task.postprocess_fn(prediction, example=row, is_target=False)
        scores = {}
        for metric in seqio_task.predict_metric_fns:
            scores |= metric([gold], [guess])
        for metric in metrics:
            if metric != "meteor":  # WordNet may be absent; tests/test_meteor.py
                assert scores[metric] == pytest.approx(SCORES[metric][k])
        # generation has further scores
        assert TASKS[task].family == "generation" or tuple(scores) == metrics


def test_every_task_is_registered_and_has_a_case():
    assert {case[0] for case in CASES} == set(TASKS) and len(TASKS) == 26
    names = {name for name in seqio.TaskRegistry.names() if name.startswith("dtvg_")}
    expected = {info.seqio_name for info in KNOWN.values()}
    assert names == {n + suffix for n in expected for suffix in CONVENTIONS.values()}
    assert TASKS["superglue-cb"].seqio_name == "dtvg_superglue_cb"


@pytest.mark.parametrize(
    "name, count",
    [
        ("dtvg_sources", 6),
        ("dtvg_targets", 20),
        ("dtvg_all", 26),
        ("dtvg_glue", 8),
        ("dtvg_super_glue", 6),
        ("dtvg_question_answering", 5),
        ("dtvg_others", 4),
        ("dtvg_generation", 3),
    ],
)
def test_mixtures_hold_their_tasks(name, count):
    for suffix in CONVENTIONS.values():
        tasks = seqio.MixtureRegistry.get(name + suffix).tasks
        assert len(tasks) == count
        assert all(task.name.endswith(suffix) for task in tasks)


def test_a_mixture_draws_rows_of_all_its_tasks(data_dir):
    mixture = seqio.MixtureRegistry.get("dtvg_generation")
    for task in mixture.tasks:
        task.source.tfds_dataset.override_data_dir(data_dir)
    kept = [task for task in mixture.tasks if task.name != "dtvg_common_gen"]
    few = seqio.Mixture("few", [task.name for task in kept], default_rate=1.0)
    rows = few.get_dataset({"inputs": 64, "targets": 64}, "train", shuffle=False)
    texts = [r["inputs"] for r in rows.take(20).as_numpy_iterator()]
    assert len({bytes(ids.astype("uint8")) for ids in texts}) == 2


def test_lengths_are_kept_with_the_end_of_the_text(data_dir):
    seqio.set_tfds_data_dir_override(data_dir)
    try:
        task = seqio.get_mixture_or_task("dtvg_rte")
        # Another test of this process may have given the task a folder of its own.
        task.source.tfds_dataset.override_data_dir(data_dir)
        lengths = {"inputs": 8, "targets": 4}
        (row,) = task.get_dataset(lengths, "train", shuffle=False).as_numpy_iterator()
    finally:
        seqio.set_tfds_data_dir_override(None)
    assert row["inputs"].tolist() == [ord(c) + 3 for c in "rte sen"] + [1]
    assert row["targets"].tolist() == [ord("0") + 3, 1]


@pytest.mark.parametrize(
    ("pad", "text", "expected"),
    [
        (formats.pad_punctuation, "a_b “x” U.S.", "a_b “ x ” U . S . "),
        (formats.pad_punctuation, " é1\u00a0\u3000\t-", " é1 - "),
        (formats.pad_punctuation, "e\u0301 ½", "e\u0301 ½"),
        (formats.pad_punctuation, "a\tb\u2028c\u00a0 d  e f", "a b c d e f"),
        (formats.pad_punctuation, "", ""),
        (
            formats.pad_ascii_punctuation,
            "a\tb\u2028c\u00a0 d  e f",
            "a b\u2028c\u00a0 d e f",
        ),
        (formats.pad_ascii_punctuation, "a_b “x” U.S.", "a _ b “x” U . S . "),
    ],
)
def test_punctuation_is_padded(pad, text, expected):
    assert pad(tf.constant(text)).numpy().decode() == expected


@pytest.mark.parametrize(
    ("passage", "expected"),
    [
        ("One.\n@highlight\nTwo", "One. Two"),
        ('"One"\n@highlight\nTwo!\n@highlight\nThree', '"One" Two! Three'),
        ("One\n@highlight\nTwo's'\n@highlight\nThree", "One. Two's' Three"),
        ("One)\n@highlight\n\n@highlight\nTwo", "One). . Two"),
    ],
)
def test_highlights_of_record_become_sentences(passage, expected):
    row = {
        "passage": [passage], "query": ["q"], "entities": [["A", "B"]],
        "answers": [["B"]],
    }  # fmt: skip
    dataset = formats.record(tf.data.Dataset.from_tensor_slices(row), "record query:")
    (texts,) = dataset.as_numpy_iterator()
    assert texts["inputs"].decode().partition(" passage: ")[2] == expected


def test_record_trains_on_a_row_per_answer_and_stands_in_for_missing_ones():
    signature = {
        "query": tf.TensorSpec((), tf.string),
        "answers": tf.TensorSpec((None,), tf.string),
    }
    rows = [{"query": "q", "answers": ["A", "B"]}, {"query": "r", "answers": []}]
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(rows), output_signature=signature
    )
    found = formats.row_per_answer(dataset).as_numpy_iterator()
    assert [(row["query"], row["answer"]) for row in found] == [
        (b"q", b"A"), (b"q", b"B"), (b"r", b"<unk>"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        # the second span first: its index is not raised
        ((4, "she", 2, "Mary."), "Ann thanked # Mary. # because * she * left"),
        # characters that mean something in a regular expression mean themselves
        ((4, "s.e", 0, "Ann"), "# Ann # thanked Mary. because she left"),
        ((1, "thanked Mary.", 3, "because"),
         "Ann * thanked Mary. * # because # she left"),
        # raised also where the first span was not found, as in the reference
        ((0, "Bob", 4, "she"), "Ann thanked Mary. because she left"),
        ((9, "Ann", 0, "Ann"), "# Ann # thanked Mary. because she left"),
        ((0, "Ann", 4, "she"), "* Ann * thanked Mary. because # she # left"),
    ],
)  # fmt: skip
def test_spans_are_marked_where_they_stand(spans, expected):
    names = ("span1_index", "span1_text", "span2_index", "span2_text")
    row = dict(zip(names, spans, strict=True))
    row |= {"text": "Ann thanked Mary. because she left", "label": 0}
    dataset = tf.data.Dataset.from_tensors({k: tf.constant(v) for k, v in row.items()})
    (texts,) = formats.coreference(dataset, "wsc", ("F", "T")).as_numpy_iterator()
    assert texts["inputs"].decode() == f"wsc text: {expected}"


@pytest.mark.parametrize(
    ("score", "reference", "t5"),
    [
        (3.8, "3.8", "3.8"), (2.25, "2.2", "2.2"), (4.333, "4.3", "4.4"),
        (0.3, "0.3", "0.4"), (0.0, "0.0", "0.0"), (5.0, "5.0", "5.0"),
    ],
)  # fmt: skip
def test_similarities_are_rounded(score, reference, t5):
    row = {"sentence1": "", "sentence2": "", "label": tf.constant(score)}
    dataset = tf.data.Dataset.from_tensors(row)
    for steps, rounded, expected in ((10, tf.float64, reference), (5, tf.float32, t5)):
        rows = formats.similarity(dataset, "stsb", steps, rounded)
        assert [r["targets"].decode() for r in rows.as_numpy_iterator()] == [expected]
