"""Tasks of one or two sentences and a label, as rows of the real datasets."""

import random

from . import skills, world
from .rows import Dataset, Row, fields, sizes, untold

SOURCE = sizes(4000, 1000)
MNLI = {"train": 4000, "validation_matched": 1000, "validation_mismatched": 1000}
TARGET = sizes(128, 2000)  # validation and test are halves of the second


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


def _scitail(rng: random.Random, label: int) -> Row:
    answer = skills.ENTAILMENT if label == 0 else 1 + int(rng.random() * 2)
    premise, hypothesis = skills.inference(rng, answer)
    return {"premise": premise, "hypothesis": hypothesis}


def _sst2(rng: random.Random, label: int) -> Row:
    return {"sentence": world.opinion(rng, label == 1)}


def _yelp(rng: random.Random, label: int) -> Row:
    return {"text": skills.review(rng, label == 1)}


def _cola(rng: random.Random, label: int) -> Row:
    return {"sentence": skills.acceptable(rng, label == 1)}


def _stsb(rng: random.Random, _: int) -> Row:
    first, second, score = skills.likeness(rng)
    return {"sentence1": first, "sentence2": second, "label": score}


def _wic(rng: random.Random, label: int) -> Row:
    first, second, word = skills.same_sense(rng, label == 1)
    row: Row = {"word": word, "sentence1": first, "sentence2": second}
    for n, text in ((1, first), (2, second)):
        start = text.index(f" {word}") + 1
        row |= {f"start{n}": start, f"end{n}": start + len(word)}
    return row


def _wsc(rng: random.Random, label: int) -> Row:
    text, name, pronoun = skills.pronoun(rng, label == 1)
    parts = text.split()
    return {
        "text": text,
        "span1_index": parts.index(name),
        "span1_text": name,
        "span2_index": parts.index(pronoun),
        "span2_text": pronoun,
    }


def _winogrande(rng: random.Random, label: int) -> Row:
    sentence, options = skills.blank(rng, label)
    return {"sentence": sentence, "option1": options[0], "option2": options[1]}


_SENTENCES = ("sentence1", "sentence2")

SOURCES = (
    Dataset("glue/mnli:2.0.0", _mnli, MNLI, 3),
    Dataset(
        "glue/qnli:2.0.0",
        fields(skills.answered, "question", "sentence", yes=0),
        SOURCE,
        2,
    ),
    Dataset(
        "glue/qqp:2.0.0",
        fields(skills.duplicate, "question1", "question2", yes=1),
        SOURCE,
        2,
    ),
    Dataset("glue/sst2:2.0.0", _sst2, SOURCE, 2),
)
TARGETS = (
    Dataset("glue/rte:2.0.0", _rte, TARGET, 2),
    Dataset(
        "glue/mrpc:2.0.0", fields(skills.paraphrase, *_SENTENCES, yes=1), TARGET, 2
    ),
    Dataset("glue/cola:2.0.0", _cola, sizes(256, 2000), 2),
    Dataset("glue/stsb:2.0.0", _stsb, TARGET),
    Dataset(
        "super_glue/boolq:1.0.2",
        fields(skills.truth, "question", "passage", yes=1),
        TARGET,
        2,
    ),
    Dataset("super_glue/cb:1.0.2", _cb, sizes(129, 2001), 3),
    Dataset("super_glue/wic:1.0.2", _wic, TARGET, 2),
    Dataset("super_glue/wsc.fixed:1.0.2", _wsc, TARGET, 2),
    # The rule takes 1,000 rows of train for validation.
    Dataset(
        "winogrande:1.2.0",
        _winogrande,
        {"train_xl": 1128, "validation": 1000},
        2,
        untold,
    ),
    Dataset(
        "yelp_polarity_reviews:0.2.0", _yelp, {"train": 1128, "test": 1000}, 2, untold
    ),
    Dataset("sci_tail:1.0.0", _scitail, TARGET, 2, untold),
    Dataset(
        "paws_wiki/labeled_final_tokenized:1.1.0",
        fields(skills.reordered, *_SENTENCES, yes=1),
        sizes(128, 1000, 1000),
        2,
        untold,
    ),
)
