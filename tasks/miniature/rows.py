"""The twelve tasks as rows of the real datasets: names, features, sizes, labels."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tasks.miniature import skills, world

Row = dict[str, Any]


class Dataset(NamedTuple):
    """One dataset to write.

    draw(rng, label) gives the features without label and idx; rows: how many of each
    split; labels: number of classes, dealt out in turn, or 0.
    """

    builder: str
    draw: Callable[[random.Random, int], Row]
    rows: dict[str, int]
    labels: int


def rows(dataset: Dataset, seed: int) -> dict[str, list[tuple[int, Row]]]:
    """Draws all splits of a dataset as (key, features); no text comes twice."""
    rng, known = random.Random(f"{seed}/{dataset.builder}"), set()
    return {
        split: [
            (i, _finish(dataset, _new(rng, dataset, i, known), i)) for i in range(count)
        ]
        for split, count in dataset.rows.items()
    }


def _new(rng: random.Random, dataset: Dataset, i: int, known: set[str]) -> Row:
    label = i % max(dataset.labels, 1)
    while (text := repr(row := dataset.draw(rng, label))) in known:
        pass
    known.add(text)
    return row | ({"label": label} if dataset.labels else {})


def _finish(dataset: Dataset, row: Row, i: int) -> Row:
    """Adds what only tells rows apart."""
    if dataset.builder.startswith("squad"):
        return row | {"id": f"{i:08d}", "title": "miniature"}
    if "record" in dataset.builder:
        return row | {"idx": {"passage": i, "query": i}}
    return row | {"idx": i}


def _pair(draw, first: str, second: str, yes: int):
    """Names the two texts of a yes-or-no skill; `yes` is the label of yes."""

    def row(rng: random.Random, label: int) -> Row:
        return dict(zip((first, second), draw(rng, label == yes), strict=True))

    return row


def _mnli(rng: random.Random, label: int) -> Row:
    premise, hypothesis = skills.inference(rng, label)
    return {"premise": premise, "hypothesis": hypothesis}


def _cb(rng: random.Random, label: int) -> Row:
    """Reported facts; CommitmentBank's labels are yes, no, open, in this order."""
    answer = (skills.ENTAILMENT, skills.CONTRADICTION, skills.NEUTRAL)[label]
    premise, hypothesis = skills.inference(rng, answer, reported=0.8)
    return {"premise": premise, "hypothesis": hypothesis}


def _rte(rng: random.Random, label: int) -> Row:
    answer = skills.ENTAILMENT if label == 0 else 1 + int(rng.random() * 2)
    first, second = skills.inference(rng, answer, reported=0.3)
    return {"sentence1": first, "sentence2": second}


def _sst2(rng: random.Random, label: int) -> Row:
    return {"sentence": world.opinion(rng, label == 1)}


def _cola(rng: random.Random, label: int) -> Row:
    return {"sentence": skills.acceptable(rng, label == 1)}


def _wic(rng: random.Random, label: int) -> Row:
    first, second, word = skills.same_sense(rng, label == 1)
    row: Row = {"word": word, "sentence1": first, "sentence2": second}
    for n, text in ((1, first), (2, second)):
        start = text.index(f" {word}") + 1
        row |= {f"start{n}": start, f"end{n}": start + len(word)}
    return row


def _squad(rng: random.Random, _: int) -> Row:
    question, context, answer = skills.value_in_text(rng)
    answers = {"text": [answer], "answer_start": [context.index(answer)]}
    return {"question": question, "context": context, "answers": answers}


def _record(rng: random.Random, _: int) -> Row:
    query, people, passage, answer = skills.person_in_text(rng)
    return {
        "query": query,
        "passage": passage,
        "entities": people,
        "answers": [answer],
    }


def _sizes(train: int, validation: int) -> dict[str, int]:
    return {"train": train, "validation": validation}


SOURCE = _sizes(4000, 1000)
MNLI = {"train": 4000, "validation_matched": 1000, "validation_mismatched": 1000}

DATASETS = (
    Dataset("glue/mnli:2.0.0", _mnli, MNLI, 3),
    Dataset(
        "glue/qnli:2.0.0", _pair(skills.answered, "question", "sentence", 0), SOURCE, 2
    ),
    Dataset(
        "glue/qqp:2.0.0",
        _pair(skills.duplicate, "question1", "question2", 1),
        SOURCE,
        2,
    ),
    Dataset("glue/sst2:2.0.0", _sst2, SOURCE, 2),
    Dataset("super_glue/record:1.0.2", _record, SOURCE, 0),
    Dataset("squad/v1.1:3.0.0", _squad, SOURCE, 0),
    Dataset("glue/rte:2.0.0", _rte, _sizes(64, 1400), 2),
    Dataset(
        "glue/mrpc:2.0.0",
        _pair(skills.paraphrase, "sentence1", "sentence2", 1),
        _sizes(64, 1400),
        2,
    ),
    Dataset("glue/cola:2.0.0", _cola, _sizes(256, 1400), 2),
    Dataset(
        "super_glue/boolq:1.0.2",
        _pair(skills.truth, "question", "passage", 1),
        _sizes(64, 1400),
        2,
    ),
    Dataset("super_glue/cb:1.0.2", _cb, _sizes(66, 1401), 3),
    Dataset("super_glue/wic:1.0.2", _wic, _sizes(64, 1400), 2),
)
