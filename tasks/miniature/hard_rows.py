"""What real rows hold and a generated world does not: a few rows behind the drawn ones.

Several answers or none, empty texts, hidden labels, markup, passages longer than any
limit, spans that do not stand where they should, characters outside the vocabulary.
The splits named "test" that only have hidden labels are never read by a task.
"""

import re
from typing import Any

from ..task_info import SPLITS
from .rows import Row

LONG = " ".join(f"Nina walked past house {i} ." for i in range(200))
FOREIGN = "Zoë’s naïve café “Łódź” — 北京 😀"


def _pair(first: str, second: str, *rows: tuple[str, str, int | float]) -> list[Row]:
    return [{first: a, second: b, "label": label} for a, b, label in rows]


def _mrqa(subset: str, context: str, question: str, answers: list[str]) -> list[Row]:
    empty: Row = {"tokens": [], "offsets": []}
    found: Row = {"text": [], "char_spans": [], "token_spans": []}
    return [
        {
            "subset": subset,
            "context": context,
            "context_tokens": empty,
            "question": question,
            "question_tokens": empty,
            "answers": answers,
            "detected_answers": found,
        }
    ]


def _train_and_test(rows: list[Row], test: str = "validation") -> dict[str, list[Row]]:
    return _in_splits(rows, "train", test)


def _in_splits(rows: list[Row], *splits: str) -> dict[str, list[Row]]:
    """Gives every split rows of its own, by other names: no text is in two of them."""
    return {split: _renamed(rows, i) for i, split in enumerate(splits)}


# Names of one length, so that what says where they stand stays right.
_NAMES = (
    ("Nina", "Olga", "Vera"),
    ("Zoë", "Léo", "Noé"),
    ("Acme", "Ajax", "Esso"),
    ("Oslo", "Rome", "Bonn"),
    ("Tom", "Jim", "Bob"),
    ("cat", "cow", "hen"),
    ("Bo", "Al", "Ed"),
    ("Ann", "Eva", "Sue"),
    ("cup", "jug", "mug"),
    ("dog", "boy", "man"),
    ("warm", "nice", "kind"),
    ("Why", "How", "Who"),
    ("tacos", "rolls", "soups"),
    ("Aarhus", "Odense", "Vejle"),
)


def _renamed(value: Any, i: int) -> Any:
    if isinstance(value, dict):
        return {name: _renamed(inner, i) for name, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, i) for inner in value]
    if isinstance(value, str):
        for names in _NAMES:
            value = re.sub(rf"(?<![A-Za-z]){names[0]}(?![A-Za-z])", names[i], value)
    return value


def _wic(word: str, first: str, second: str, label: int) -> Row:
    starts = [text.index(word) for text in (first, second)]
    return {
        "word": word,
        "sentence1": first,
        "sentence2": second,
        "start1": starts[0],
        "end1": starts[0] + len(word),
        "start2": starts[1],
        "end2": starts[1] + len(word),
        "label": label,
    }


def _span(text: str, first: tuple[int, str], second: tuple[int, str], label: int):
    return {
        "text": text,
        "span1_index": first[0],
        "span1_text": first[1],
        "span2_index": second[0],
        "span2_text": second[1],
        "label": label,
    }


def _wrote(data: Row, *texts: str) -> Row:
    return data | {"target": texts[0], "references": list(texts)}


_PREMISE = ("premise", "hypothesis")
_SENTENCES = ("sentence1", "sentence2")
_MNLI = _pair(
    *_PREMISE,
    (FOREIGN, "There is a café .", 0),
    (LONG, "Nina slept .", 1),
    ("", "Tom slept .", 1),
)
_RECORD: list[Row] = [
    {
        "query": "@placeholder closed schools",
        "passage": "Rain hit Oslo.\n@highlight\nThe mayor closed schools\n@highlight\n"
        "Trains ran late",
        "entities": ["Hall", "Oslo", "The mayor"],
        "answers": ["Hall", "The mayor"],
    },
    {
        "query": "@placeholder waited behind the last house",
        "passage": f"{LONG} Otto waited .",
        "entities": ["Nina", "Otto"],
        "answers": ["Otto"],
    },
]
_NO_ANSWER = {**_RECORD[0], "answers": []}
_SQUAD: list[Row] = [
    {
        "question": "Who founded Acme_1?",
        "context": "Acme_1 was founded in the U.S. by J. Doe.",
        "answers": {"text": ["J. Doe", "Doe", "J. Doe"], "answer_start": [34, 37, 34]},
    },
    {
        "question": "Who waited?",
        "context": f"{LONG} Otto waited .",
        "answers": {"text": ["Otto"], "answer_start": [len(LONG) + 1]},
    },
    {
        "question": f"What is {FOREIGN}?",
        "context": f"{FOREIGN} is a café.",
        "answers": {"text": ["a café"], "answer_start": [len(FOREIGN) + 4]},
    },
]
_MULTIRC: list[Row] = [
    {
        "paragraph": '<b>Sent 1: </b>Tom\'s "dog" ate.<br><b>Sent 2: </b>He slept.<br>',
        "question": "Who <b>slept</b>?",
        "answer": "Tom\\",
        "label": 1,
        "idx": {"paragraph": 90_000, "question": 0, "answer": 0},
    },
    {
        "paragraph": f"<b>Sent 1: </b>{LONG}<br><b>Sent 2: </b>Otto waited .<br>",
        "question": "Who waited?",
        "answer": "Nina",
        "label": 0,
        "idx": {"paragraph": 90_001, "question": 0, "answer": 0},
    },
]
_WSC = [
    _span(
        "Ann (the judge) thanked Mary because she left.",
        (1, "(the judge)"),
        (5, "she"),
        0,
    ),
    _span("Ann thanked Mary because she left.", (0, "Mary"), (4, "she"), 1),
]
_YELP = [
    {"text": 'Great tacos!\\nThe \\""salsa\\"" is hot.\\n\\nWill return. ', "label": 1},
    {"text": LONG + " Never again .", "label": 0},
    {"text": FOREIGN, "label": 1},
]
_E2E = _wrote(
    {"meaning_representation": f"name[The {FOREIGN}], area[city centre]"},
    f"The {FOREIGN} is in the city centre.",
    f"In the centre of the city there is The {FOREIGN}.",
    "It isn't far.",
)
_TRIPLES = _wrote(
    {"input": ["Aarhus_Airport | runwayLength | 2777.0", "A | b | C"], "category": ""},
    "Aarhus Airport's runway is 2,777 metres long, and A is b of C.",
)
_HIDDEN = _pair(*_SENTENCES, ("Hidden.", "Label.", -1))

ROWS: dict[str, dict[str, list[Row]]] = {
    "glue/mnli:2.0.0": _in_splits(
        _MNLI, "train", "validation_matched", "validation_mismatched"
    ),
    "glue/qnli:2.0.0": _train_and_test(
        _pair("question", "sentence", ("Who?", LONG, 1), (FOREIGN, FOREIGN, 0))
    ),
    "glue/qqp:2.0.0": _train_and_test(
        _pair("question1", "question2", ("", "Why?", 0), (FOREIGN, FOREIGN, 1))
    ),
    "glue/sst2:2.0.0": _train_and_test(
        [
            {"sentence": "a warm , funny film ", "label": 1},
            {"sentence": FOREIGN, "label": 1},
        ]
    ),
    "super_glue/record:1.0.2": _train_and_test(_RECORD) | {"test": [_NO_ANSWER]},
    "squad/v1.1:3.0.0": _train_and_test(_SQUAD),
    "glue/rte:2.0.0": _train_and_test(_pair(*_SENTENCES, (LONG, "Nina ran.", 1)))
    | {"test": _HIDDEN},
    "glue/mrpc:2.0.0": _train_and_test(_pair(*_SENTENCES, (FOREIGN, FOREIGN, 1))),
    "glue/cola:2.0.0": _train_and_test([{"sentence": FOREIGN, "label": 1}]),
    "glue/stsb:2.0.0": _train_and_test(
        _pair(*_SENTENCES, ("A cat runs.", "A dog runs.", 2.45), ("", FOREIGN, 0.0))
    ),
    "super_glue/boolq:1.0.2": _train_and_test(
        _pair("question", "passage", ("did Nina walk", LONG, 1))
    ),
    "super_glue/cb:1.0.2": _train_and_test(_pair(*_PREMISE, (LONG, "Nina ran.", 2)))
    | {"test": _pair(*_PREMISE, ("Hidden.", "Label.", -1))},
    "super_glue/wic:1.0.2": _train_and_test(
        [_wic("café", f"{FOREIGN}.", "The café is shut.", 1)]
    ),
    "super_glue/wsc.fixed:1.0.2": _train_and_test(_WSC),
    "super_glue/multirc:1.0.2": _train_and_test(_MULTIRC),
    "mrqa/natural_questions:1.0.0": _train_and_test(
        _mrqa(
            "NaturalQuestionsShort",
            "<P> Acme was founded by J. Doe in the U.S. </P>",
            "who founded acme",
            ["J. Doe", "Doe"],
        )
    ),
    "mrqa/hotpot_qa:1.0.0": _train_and_test(
        _mrqa("HotpotQA", f"[PAR] [TLE] X [SEP] {LONG} yes", "Is X?", ["yes"])
    ),
    "mrqa/news_qa:1.0.0": _train_and_test(
        _mrqa("NewsQA", f"{FOREIGN}\n\n\n\n{LONG} Otto waited.", "Who?", ["Otto", ""])
    ),
    "mrqa/search_qa:1.0.0": _train_and_test(
        _mrqa("SearchQA", f"[DOC] [TLE] {FOREIGN} [PAR] {LONG}", "a café", ["Zoë's"])
    ),
    "winogrande:1.2.0": _in_splits(
        [
            {
                "sentence": "The cup missed the box because the _ was big.",
                "option1": "cup",
                "option2": "Zoë’s box",
                "label": 0,
            }
        ],
        "train_xl",
        "validation",
    ),
    "yelp_polarity_reviews:0.2.0": _train_and_test(_YELP, "test"),
    "sci_tail:1.0.0": _train_and_test(_pair(*_PREMISE, (LONG, "Ice melts.", 1))),
    "paws_wiki/labeled_final_tokenized:1.1.0": _in_splits(
        _pair(*_SENTENCES, ("`` Bo '' beat Cy .", "Cy beat `` Bo '' .", 0)), *SPLITS
    ),
    "gem/e2e_nlg:1.1.0": _in_splits([_E2E], *SPLITS),
    "gem/common_gen:1.1.0": {
        "train": [
            _wrote(
                {"concepts": ["dog", "frisbee", "catch"]},
                "A dog leaps to catch a frisbee.",
                "Dogs catch it.",
            )
        ],
        "test": [{"concepts": ["café"], "target": "", "references": []}],
    },
    "gem/web_nlg_en:1.1.0": _in_splits([_TRIPLES], *SPLITS),
}
