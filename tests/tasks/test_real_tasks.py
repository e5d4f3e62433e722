"""Real rows through token tables with T5's vocabulary, against wordings written here.

Every stored row that a task reads is to be found exactly once over its splits, worded
as the few lines of Python below word it: so none is lost, changed, or in two splits.
"""

import collections
import functools
import pathlib
import re
import unicodedata

import golden_backbones as golden
import numpy as np
import pytest
import sentencepiece
import tensorflow_datasets as tfds

from dtvg_jax.data import token_table
from dtvg_jax.errors import InputError
from dtvg_jax.formats import vocabularies
from tasks.splits import RULES, SPLITS
from tasks.task_info import TASKS

LENGTHS = (8192, 256)  # nothing is truncated
DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "tasks.md"


def fields(*names, prefix=None, **renamed):
    """Words rows as "task name: text ... "."""
    shown = {name: name for name in names} | renamed

    def word(task, row):
        texts = " ".join(f"{name}: {row[key]}" for name, key in shown.items())
        return [(f"{prefix or task} {texts}", str(row["label"]))]

    return word


def pad(text):
    """Pads punctuation as the reference does, by Unicode categories."""
    is_word = lambda c: c == "_" or c.isspace() or unicodedata.category(c)[0] in "LNM"
    spaced = "".join(c if is_word(c) else f" {c} " for c in text)
    return re.sub(r"\s+", " ", spaced)


def question(task, row):
    answers = row["answers"]
    answers = answers["text"] if isinstance(answers, dict) else answers
    asked = f"question: {pad(row['question'])} context: {pad(row['context'])}"
    return [(f"{task} {asked}", pad(answers[0]))]


def stsb(task, row):
    texts = f"sentence1: {row['sentence1']} sentence2: {row['sentence2']}"
    fifths = np.round(np.float32(row["label"]) * np.float32(5))  # T5 is that precise
    return [(f"{task} {texts}", f"{fifths / 5:.1f}")]


def multirc(task, row):
    clean = lambda text: re.sub("</?b>", "", text.replace("<br>", " "))
    names = ("question", "answer", "paragraph")
    texts = " ".join(f"{name}: {clean(row[name])}" for name in names)
    return [(f"{task} {texts}", str(row["label"]))]


def record(task, row):
    passage = re.sub(r"(?<=[.?!\"'])\n@highlight\n", " ", row["passage"])
    passage = passage.replace("\n@highlight\n", ". ")
    entities = ", ".join(row["entities"])
    text = f"{row['query']} entities: {entities} passage: {passage}"
    return [(f"{task} record query: {text}", answer) for answer in row["answers"][:1]]


def coreference(task, row):
    """Marks spans from the later one on, so that no index changes."""
    words = re.split(r"(?<=\s)", row["text"])
    spans = [(row[f"span{n}_index"], row[f"span{n}_text"], "*#"[n - 1]) for n in (1, 2)]
    for index, span, mark in sorted(spans, reverse=True):
        tail = "".join(words[index:])
        if tail.startswith(span):
            tail = f"{mark} {span} {mark}{tail[len(span) :]}"
            words = [*words[:index], tail]
    return [(f"{task} text: {''.join(words)}", str(row["label"]))]


def text(opening, shown):
    return lambda task, row: [(f"{task} {opening}: {shown(row)}", row["target"])]


PREMISE, SENTENCES = fields("premise", "hypothesis"), fields("sentence1", "sentence2")
WORDINGS = {
    "mnli": PREMISE,
    "qnli": fields("question", "sentence"),
    "qqp": fields("question1", "question2"),
    "sst2": fields("sentence"),
    "rte": SENTENCES,
    "mrpc": SENTENCES,
    "cola": fields("sentence"),
    "stsb": stsb,
    "superglue-boolq": fields("question", "passage"),
    "superglue-cb": PREMISE,
    "superglue-wic": fields("sentence1", "sentence2", "word"),
    "superglue-wsc.fixed": coreference,
    "superglue-multirc": multirc,
    "superglue-record": record,
    "squad": question,
    "hotpotqa": question,
    "newsqa": question,
    "searchqa": question,
    "winogrande": fields("sentence", option0="option1", option1="option2"),
    "yelp_polarity": fields(sentence="text"),
    "scitail": PREMISE,
    "e2e": text("meaning_representation", lambda row: row["meaning_representation"]),
    "web_nlg": text("triples", lambda row: " && ".join(row["input"])),
}
LACKING = {"paws", "nq", "common_gen"}


def plain(value):
    """Turns TFDS values into Python ones."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, bytes):
        return value.decode()
    value = value.tolist() if hasattr(value, "tolist") else value
    return [plain(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def pieces(shared):
    model = shared / "real/t5/spiece.model"
    return sentencepiece.SentencePieceProcessor(model_file=str(model))


@pytest.fixture(scope="module")
def open_tables(shared, cache):
    vocabulary = vocabularies.load_vocabulary(
        shared / "real/t5", decoder_only=False, rows=32_128
    )

    @functools.cache
    def tables(task):
        """Opens what can be carved; the official sets are larger."""
        found = {}
        settings = token_table.TableSettings(
            vocabulary, LENGTHS, cache / "real", shared / "real/tfds"
        )
        for split in SPLITS:
            try:
                found[split] = token_table.token_table(task, split, settings)
            except InputError as error:
                assert re.search("too few|is not prepared", str(error)), error
        return found

    return tables


# A class, a pair, a score, several rows of a question, spans, generation.
QUICK = ("sst2", "superglue-cb", "stsb", "superglue-multirc", "squad", "e2e")


@pytest.mark.parametrize("task", golden.quick(list(WORDINGS), QUICK))
def test_every_row_is_in_one_split_worded_as_by_hand(task, open_tables, pieces, shared):
    tables = open_tables(task)
    info = TASKS[task]
    builder = tfds.builder(info.builder, data_dir=str(shared / "real/tfds"))
    expected = collections.Counter()
    for stored in {RULES[info.rule][split].stored for split in tables}:
        for row in tfds.as_numpy(builder.as_dataset(split=stored)):
            row = plain(row)
            if row.get("label", 0) != -1:
                expected.update(WORDINGS[task](task, row))
    ids = lambda text: (*pieces.encode(text), pieces.eos_id())
    wanted, texts = collections.Counter(), {}
    for row, count in expected.items():
        wanted[tuple(map(ids, row))] += count
        texts[tuple(map(ids, row))] = row
    rows = collections.Counter(row for t in tables.values() for row in rows_of(t))
    assert rows == wanted
    known = [row for row in rows if pieces.unk_id() not in (*row[0], *row[1])]
    assert known  # half of Yelp's rows have a backslash, which is no piece
    for row in known:
        decoded = [pieces.decode(list(part[:-1])) for part in row]
        spaced = [pieces.normalize(text).replace("▁", " ") for text in texts[row]]
        assert decoded == [text.strip() for text in spaced]


def rows_of(table):
    for i in range(len(table)):
        inputs = slice(*table.input_offsets[i : i + 2])
        targets = slice(*table.target_offsets[i : i + 2])
        yield (
            tuple(table.inputs[inputs].tolist()),
            tuple(table.targets[targets].tolist()),
        )


@pytest.mark.slow
def test_the_documented_counts_are_those_of_the_tables(open_tables):
    documented = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0] in WORDINGS:
            documented[cells[0]] = cells[1:4]
    found = {
        task: [
            f"{len(open_tables(task)[s]):,}" if s in open_tables(task) else "-"
            for s in SPLITS
        ]
        for task in WORDINGS
    }
    assert documented == found


def test_what_the_folder_lacks_is_known():
    assert set(WORDINGS) | LACKING == set(TASKS)
