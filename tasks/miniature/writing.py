"""Tasks of writing a text on data, as rows of the real datasets."""

import random

from . import texts
from .rows import Dataset, Row, sizes

TARGET = sizes(256, 1000, 1000)


def _e2e(rng: random.Random, _: int) -> Row:
    data, references = texts.described(rng)
    return {"meaning_representation": data} | _written(references)


def _web_nlg(rng: random.Random, _: int) -> Row:
    triples, references = texts.triples(rng)
    return {"input": triples, "category": "Person"} | _written(references)


def _common_gen(rng: random.Random, _: int) -> list[Row]:
    """Draws a set of concepts and makes a row of each of the texts on it."""
    concepts, written = texts.concepts(rng)
    return [
        {"concepts": concepts, "target": text, "references": written}
        for text in written
    ]


def _written(references: list[str]) -> Row:
    return {"target": references[0], "references": references}


def _numbered(row: Row, i: int, group: int) -> Row:
    return row | {"gem_id": f"miniature-{i}", "gem_parent_id": f"miniature-{i}"}


def _of_triples(row: Row, i: int, group: int) -> Row:
    return _numbered(row, i, group) | {"webnlg_id": f"Id{i}"}


def _of_concepts(row: Row, i: int, group: int) -> Row:
    return _numbered(row, i, group) | {"concept_set_id": group}


TARGETS = (
    Dataset("gem/e2e_nlg:1.1.0", _e2e, TARGET, 0, _numbered),
    # The rule takes 1,000 rows of train for validation.
    Dataset("gem/common_gen:1.1.0", _common_gen, sizes(1256, 1000), 0, _of_concepts),
    Dataset("gem/web_nlg_en:1.1.0", _web_nlg, TARGET, 0, _of_triples),
)
