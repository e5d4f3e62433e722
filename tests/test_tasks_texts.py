"""Literal inputs, targets and gold answers of every task, in both conventions."""

import pytest
import seqio
import tensorflow as tf
import tfds_rows

import tasks.all  # noqa: F401 registers the tasks
from tasks import formats
from tasks.table import TASKS

IDX = {"idx": 0}
QUERY = {"idx": {"passage": 0, "query": 0}}
PASSAGE = (
    "Rain hit Oslo.\n@highlight\nThe mayor closed schools\n@highlight\nTrains ran late"
)

# task, split read here and stored, a raw row, input and target: digits, then words
CASES = [
    (
        "mnli", "test", "validation_matched",
        dict(premise="A man naps.", hypothesis="A man rests.", label=1, **IDX),
        "mnli premise: A man naps. hypothesis: A man rests.", "1",
        "mnli hypothesis: A man rests. premise: A man naps.", "neutral",
    ),
    (
        "mnli", "validation", "validation_mismatched",
        dict(premise="No.", hypothesis="Yes.", label="contradiction", **IDX),
        "mnli premise: No. hypothesis: Yes.", "2",
        "mnli hypothesis: Yes. premise: No.", "contradiction",
    ),
    (
        "qnli", "test", "validation",
        dict(question="Who wrote it?", sentence="Poe wrote it.", label=0, **IDX),
        "qnli question: Who wrote it? sentence: Poe wrote it.", "0",
        "qnli question: Who wrote it? sentence: Poe wrote it.", "entailment",
    ),
    (
        "qqp", "test", "validation",
        dict(
            question1="How old is Rome?", question2="What is Rome's age?", label=1,
            **IDX,
        ),
        "qqp question1: How old is Rome? question2: What is Rome's age?", "1",
        "qqp question1: How old is Rome? question2: What is Rome's age?", "duplicate",
    ),
    (
        "sst2", "test", "validation",
        dict(sentence="a warm , funny film ", label=1, **IDX),
        "sst2 sentence: a warm , funny film ", "1",
        "sst2 sentence: a warm , funny film ", "positive",
    ),
    (
        "superglue-record", "test", "validation",
        dict(
            passage=PASSAGE, query="@placeholder closed schools",
            entities=["Oslo", "The mayor"], answers=["The mayor"], **QUERY,
        ),
        "superglue-record record query: @placeholder closed schools entities: Oslo, "
        "The mayor passage: Rain hit Oslo. The mayor closed schools. Trains ran late",
        "The mayor",
        "record query: @placeholder closed schools entities: Oslo, The mayor passage: "
        "Rain hit Oslo. The mayor closed schools. Trains ran late",
        "The mayor",
    ),
    (
        "squad", "test", "validation",
        dict(
            id="a", title="Acme", context="Acme_1 was founded by J. Doe.",
            question="Who founded Acme_1?",
            answers=dict(text=["J. Doe", "Doe"], answer_start=[22, 25]),
        ),
        "squad question: Who founded Acme_1 ?  context: Acme_1 was founded by J . Doe"
        " . ",
        "J . Doe",
        "question: Who founded Acme _ 1 ? context: Acme _ 1 was founded by J . Doe . ",
        "J . Doe",
    ),
    (
        "rte", "train", "train",
        dict(sentence1="A dog sleeps.", sentence2="An animal sleeps.", label=0, **IDX),
        "rte sentence1: A dog sleeps. sentence2: An animal sleeps.", "0",
        "rte sentence1: A dog sleeps. sentence2: An animal sleeps.", "entailment",
    ),
    (
        "mrpc", "train", "train",
        dict(
            sentence1="He left early.", sentence2="He departed early.", label=1, **IDX
        ),
        "mrpc sentence1: He left early. sentence2: He departed early.", "1",
        "mrpc sentence1: He left early. sentence2: He departed early.", "equivalent",
    ),
    (
        "cola", "train", "train",
        dict(sentence="The book was read.", label=1, **IDX),
        "cola sentence: The book was read.", "1",
        "cola sentence: The book was read.", "acceptable",
    ),
    (
        "superglue-boolq", "train", "train",
        dict(question="is tea hot", passage="Tea is served hot.", label=1, **IDX),
        "superglue-boolq question: is tea hot passage: Tea is served hot.", "1",
        "boolq passage: Tea is served hot. question: is tea hot", "True",
    ),
    (
        "superglue-cb", "train", "train",
        dict(
            premise="She said it rained", hypothesis="it rained", label="neutral", **IDX
        ),
        "superglue-cb premise: She said it rained hypothesis: it rained", "2",
        "cb hypothesis: it rained premise: She said it rained", "neutral",
    ),
    (
        "superglue-wic", "train", "train",
        dict(
            sentence1="He sat on the bank.", sentence2="The bank lent money.",
            word="bank", start1=14, end1=18, start2=4, end2=8, label=0, **IDX,
        ),
        "superglue-wic sentence1: He sat on the bank. sentence2: The bank lent money. "
        "word: bank", "0",
        "wic sentence1: He sat on the bank. sentence2: The bank lent money. word: bank",
        "False",
    ),
]  # fmt: skip


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


@pytest.mark.parametrize("style", ["digits", "words"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_input_target_and_gold(case, style, data_dir):
    task, split, _, _, *texts = case
    inputs, targets = texts[:2] if style == "digits" else texts[2:]
    name = TASKS[task].seqio_name + ("_words" if style == "words" else "")
    (row,) = tfds_rows.read(name, split, data_dir)  # the hidden row is not there
    assert row["inputs_pretokenized"].decode() == inputs
    assert row["targets_pretokenized"].decode() == targets
    # ids of the byte vocabulary: each byte raised by 3, then 1 as the end
    assert row["inputs"].tolist() == [byte + 3 for byte in inputs.encode()] + [1]
    assert row["targets"].tolist() == [byte + 3 for byte in targets.encode()] + [1]

    seqio_task = seqio.get_mixture_or_task(name)
    gold = seqio_task.postprocess_fn("wrong", example=row, is_target=True)
    several = {"squad": ["J . Doe", "Doe"], "superglue-record": ["The mayor"]}
    assert gold == several.get(task, targets)
    guess = seqio_task.postprocess_fn(f" {targets} ", example=row, is_target=False)
    scores = {}
    for metric in seqio_task.predict_metric_fns:
        scores |= metric([gold], [guess])
    assert tuple(scores) == TASKS[task].metrics


def test_every_task_is_registered_and_has_a_case():
    assert {case[0] for case in CASES} == set(TASKS)
    names = {name for name in seqio.TaskRegistry.names() if name.startswith("dtvg_")}
    expected = {info.seqio_name for info in TASKS.values()}
    assert names == expected | {f"{name}_words" for name in expected}
    assert TASKS["superglue-cb"].seqio_name == "dtvg_superglue_cb"


def test_lengths_are_kept_with_the_end_of_the_text(data_dir):
    seqio.set_tfds_data_dir_override(data_dir)
    try:
        task = seqio.get_mixture_or_task("dtvg_rte")
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
        (formats.pad_punctuation, "", ""),
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
