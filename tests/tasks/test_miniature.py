"""The miniature world: an independent reader agrees with every label, rows are real."""

import collections
import itertools
import random
import re

import pytest
import sentencepiece

from tasks.miniature import (
    bases,
    catalogue,
    hard_rows,
    layouts,
    rows,
    vocabulary,
    words,
)

ALL = {d.builder.split(":")[0].split("/")[-1]: d for d in catalogue.DATASETS.values()}
# Those that the embedded backbone knows.
FIRST = "mnli qnli qqp sst2 record v1.1 rte mrpc cola boolq cb wic".split()
DATASETS = {name: ALL[name] for name in FIRST}
SMALL = 300

# A reader of the world that knows its words but not how sentences are made.
NAMES, NOUNS = set(words.PEOPLE), {r.noun: r.noun for r in words.RELATIONS}
VERBS = {r.verb.split()[0]: r.noun for r in words.RELATIONS}
VERBS |= {r.base.split()[0]: r.noun for r in words.RELATIONS}
KIND = {value: r.noun for r in words.RELATIONS for value in r.values}


def read_fact(text):
    """Reads `Ann does not eat rice` as ("Ann", "food", "rice", False)."""
    parts = text.split()
    (person,) = (w for w in parts if w in NAMES or w == "@placeholder")
    (value,) = (w for w in parts if w in KIND)
    said = [VERBS.get(w) or NOUNS.get(w) for w in parts if w in VERBS or w in NOUNS]
    assert said == [KIND[value]], text
    return person, KIND[value], value, "not" not in parts


def read_passage(text):
    text = re.sub(r"^\w+ (says|knows|believes) that ", "", text)
    return [read_fact(part) for part in text.split(" and ")]


def read_question(text):
    """Reads a question as the fact asked for, None in the place of what is unknown."""
    parts = text.split()
    person = next((w for w in parts if w in NAMES), None)
    value = next((w for w in parts if w in KIND), None)
    kinds = {VERBS.get(w) or NOUNS.get(w) for w in parts if w in VERBS or w in NOUNS}
    (kind,) = kinds - {None}
    assert (person is None) == (parts[0] in ("who", "whose")), text
    return person, kind, value


def follows(premise, hypothesis):
    """Says "yes", "no" or "maybe" to a fact, given facts."""
    person, kind, value, holds = hypothesis
    for p, k, v, h in premise:
        if (p, k) == (person, kind):
            if h:
                return "yes" if (v == value) == holds else "no"
            if v == value:
                return "no" if holds else "yes"
    return "maybe"


def read_clause(text):
    """Says whether an opinion of one clause is good."""
    (adjective,) = (w for w in text.split() if w in words.GOOD + words.BAD)
    return (adjective in words.GOOD) != ("not" in text.split())


def read_opinion(text):
    return read_clause(re.split(" but | and ", text)[-1])


FORMS = [
    r"NAME VERB VALUE|NAME does not BASE VALUE",
    r"the NOUN of NAME is (not )?VALUE|VALUE is the NOUN of NAME",
]
CLAUSE = r"the THING was (not |very )?ADJ"
ALPHABET = {
    "NAME": words.PEOPLE,
    "VERB": [r.verb for r in words.RELATIONS],
    "BASE": [r.base for r in words.RELATIONS],
    "NOUN": list(NOUNS),
    "VALUE": list(KIND),
    "THING": words.THINGS,
    "ADJ": words.GOOD + words.BAD,
}


def fits(pattern, text):
    for name, choices in ALPHABET.items():
        pattern = pattern.replace(name, "(" + "|".join(choices) + ")")
    return re.fullmatch(pattern, text) is not None


def read_acceptable(text):
    """Says whether a sentence is in order and fits together."""
    if any(fits(form, text) for form in FORMS):
        return True
    adverb, _, rest = text.partition(" ")
    if adverb in words.GLADLY + words.SADLY:
        return fits(CLAUSE, rest) and read_clause(rest) == (adverb in words.GLADLY)
    parts = re.split(" (but|and) ", text)
    if not all(fits(CLAUSE, part) for part in parts[::2]):
        return False
    if len(parts) == 1:
        return True
    return (read_clause(parts[0]) != read_clause(parts[2])) == (parts[1] == "but")


@pytest.mark.parametrize(
    "premise, hypothesis, answer",
    [
        ("Ann lives in Rome", "the home of Ann is Rome", "yes"),
        ("Ann lives in Rome", "Ann does not live in Oslo", "yes"),
        ("Rome is the home of Ann", "the home of Ann is not Rome", "no"),
        ("Ann lives in Rome", "Ann lives in Oslo", "no"),
        ("Ann does not live in Rome", "Ann lives in Oslo", "maybe"),
        ("Ann does not live in Rome", "Ann lives in Rome", "no"),
        ("Ben knows that Ann eats rice and Carl eats soup", "Carl eats rice", "no"),
        ("Ann eats rice and Carl keeps dog", "Carl eats rice", "maybe"),
    ],
)
def test_the_reader_infers_by_hand(premise, hypothesis, answer):
    assert follows(read_passage(premise), read_fact(hypothesis)) == answer


@pytest.mark.parametrize(
    "text, good, ok",
    [
        ("the film was good", True, True),
        ("the film was not good", False, True),
        ("the film was bad but the song was not dull", True, True),
        ("the film was bad but the song was dull", False, False),
        ("luckily the film was very good", True, True),
        ("sadly the film was very good", True, False),
        ("the film good was", True, False),
    ],
)
def test_the_reader_judges_by_hand(text, good, ok):
    assert (read_opinion(text), read_acceptable(text)) == (good, ok)


def small(name):
    """Draws some training rows of a dataset."""
    dataset = DATASETS[name]._replace(rows={"train": SMALL})
    return [row for _, row in rows.rows(dataset, 3)["train"]]


def yes_no_maybe(first, second):
    return lambda row: follows(read_passage(row[first]), read_fact(row[second]))


def same_sense(row):
    one, two = row["sentence1"].split(), row["sentence2"].split()
    for sense in words.SENSES[row["word"]]:
        if set(sense) & set(one):
            return int(bool(set(sense) & set(two)))


def answers(question, sentence):
    person, kind, value = question
    return any(
        k == kind and h and (p == person if person else v == value)
        for p, k, v, h in sentence
    )


LABELS = {
    "mnli": (yes_no_maybe("premise", "hypothesis"), {"yes": 0, "maybe": 1, "no": 2}),
    "cb": (yes_no_maybe("premise", "hypothesis"), {"yes": 0, "no": 1, "maybe": 2}),
    "rte": (yes_no_maybe("sentence1", "sentence2"), {"yes": 0, "maybe": 1, "no": 1}),
    "qnli": (
        lambda r: answers(read_question(r["question"]), read_passage(r["sentence"])),
        {True: 0, False: 1},
    ),
    "qqp": (
        lambda r: read_question(r["question1"]) == read_question(r["question2"]),
        {True: 1, False: 0},
    ),
    "mrpc": (
        lambda r: (
            sorted(read_passage(r["sentence1"])) == sorted(read_passage(r["sentence2"]))
        ),
        {True: 1, False: 0},
    ),
    "boolq": (
        lambda r: (*read_question(r["question"]), True) in read_passage(r["passage"]),
        {True: 1, False: 0},
    ),
    "sst2": (lambda r: read_opinion(r["sentence"]), {True: 1, False: 0}),
    "cola": (lambda r: read_acceptable(r["sentence"]), {True: 1, False: 0}),
    "wic": (same_sense, {1: 1, 0: 0}),
}


@pytest.mark.parametrize("name", LABELS)
def test_an_independent_reader_finds_every_label(name):
    read, label = LABELS[name]
    drawn = small(name)
    wrong = [row for row in drawn if label[read(row)] != row["label"]]
    assert not wrong, wrong[:3]
    counts = collections.Counter(row["label"] for row in drawn)
    assert set(counts.values()) == {SMALL // DATASETS[name].labels}


def test_an_independent_reader_finds_every_answer():
    for row in small("v1.1"):
        person, kind, value = read_question(row["question"])
        (found,) = (
            (p, v)
            for p, k, v, _ in read_passage(row["context"])
            if k == kind and (p == person if person else v == value)
        )
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert text == (found[1] if person else found[0])
        assert row["context"][start:].startswith(text)
    for row in small("record"):
        _, *asked = read_fact(row["query"])
        (person,) = (p for p, *fact in read_passage(row["passage"]) if fact == asked)
        assert row["answers"] == [person] and person in row["entities"]
        assert row["entities"] == sorted(row["entities"])


def test_uses_of_a_word_are_where_the_row_says():
    for row in small("wic"):
        for n in "12":
            span = row[f"sentence{n}"][row[f"start{n}"] : row[f"end{n}"]]
            assert span == row["word"]


def text_of(name, row):
    """Lays a row out as the task does."""
    fields = {
        "mnli": layouts.premise,
        "cb": layouts.premise,
        "qnli": layouts.question_sentence,
        "qqp": layouts.questions,
        "rte": layouts.sentences,
        "mrpc": layouts.sentences,
        "boolq": layouts.question_passage,
        "v1.1": layouts.question_context,
        "sst2": layouts.sentence,
        "cola": layouts.sentence,
        "wic": layouts.word,
    }
    if name == "record":
        return layouts.record(row["query"], row["entities"], row["passage"])
    first = ["word"] if name == "wic" else []
    keys = [k for k in row if isinstance(row[k], str) and k not in ("id", "title")]
    keys = [k for k in keys if k not in first and k not in ("idx",)] + first
    return fields[name](*(row[key] for key in keys))


@pytest.fixture(scope="module")
def pieces():
    return sentencepiece.SentencePieceProcessor(
        model_proto=vocabulary.vocabulary_model()
    )


@pytest.mark.parametrize("name", DATASETS)
def test_texts_are_short_and_every_word_is_a_piece(name, pieces):
    for row in small(name):
        text = "superglue-boolq " + text_of(name, row)
        ids = pieces.encode(text)
        assert len(ids) + 1 <= 32 and pieces.unk_id() not in ids, text
        assert len(ids) == len(re.findall(r"[^\s,]+|,", text))
        assert pieces.decode(ids) == text


def test_the_vocabulary_has_the_ids_of_t5_and_whole_words(pieces):
    ids = pieces.pad_id(), pieces.eos_id(), pieces.unk_id(), pieces.bos_id()
    assert ids == (0, 1, 2, -1)
    for word in ("0", "1", "2", "yes", "maybe", "no", "superglue-boolq", "question1:"):
        (piece,) = pieces.encode(word)
        assert pieces.decode([piece]) == word
    assert pieces.get_piece_size() == len(words.all_words()) + 4


@pytest.mark.parametrize("name", ALL)
def test_no_text_comes_twice_and_the_seed_decides(name):
    dataset = ALL[name]
    one, two, three = (rows.rows(dataset, seed) for seed in (0, 0, 1))
    assert one == two != three
    assert {split: len(drawn) for split, drawn in one.items()} == dataset.rows
    told = ("idx", "id", "qid", "gem_id", "gem_parent_id", "webnlg_id")
    everything = [
        repr({key: row[key] for key in row if key not in told})
        for _, row in itertools.chain(*one.values())
    ]
    if name == "multirc":  # other questions may ask the same about a paragraph
        everything = list({row["idx"]["paragraph"] for _, row in one["validation"]})
    assert len(set(everything)) == len(everything)


def test_no_hard_row_is_in_two_splits():
    for splits in hard_rows.ROWS.values():
        texts = [repr(row) for drawn in splits.values() for row in drawn]
        assert len(set(texts)) == len(texts)
    for split, name in (("train", "Acme"), ("validation", "Ajax")):
        first, *_ = hard_rows.ROWS["squad/v1.1:3.0.0"][split]
        assert first["question"] == f"Who founded {name}_1?"
        for text, start in zip(*first["answers"].values(), strict=True):
            assert first["context"][start:].startswith(text)


def test_held_out_targets_are_never_pretrained():
    """No base shows rte's, mrpc's, cola's or cb's skill in its own layout."""
    shown = {base.name: base for base in bases.bases()}
    rng, heads = random.Random(0), {}
    for name, base in shown.items():
        text, _ = base.example(rng, "words")
        heads[name] = tuple(w for w in text.split()[1:] if w.endswith(":"))
    pairs, single = ("sentence1:", "sentence2:"), ("sentence:",)
    in_pairs = {name for name, head in heads.items() if head == pairs}
    assert not in_pairs & {"entails", "paraphrase", "settles", "mnli"}
    in_single = {name for name, head in heads.items() if head == single}
    assert in_single == {"sst2", "negated", "first_clause", "review"}
    for name, digits in {"mnli": "012", "qnli": "01", "qqp": "10", "wic": "10"}.items():
        assert not any(label.startswith(digits) for label in shown[name].maps)
