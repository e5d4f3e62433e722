"""From what a dataset draws to its rows: balanced classes, no text twice, numbers."""

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]


class Dataset(NamedTuple):
    """One dataset to write.

    builder: its name, configuration and version in TFDS.
    draw: makes features of a label, without those that only tell rows apart: of one
      row, or of several that stand together.
    rows: how many of each split.
    labels: number of classes, dealt out in turn; 0 where `draw` decides itself.
    tell_apart: adds to row i what only tells rows apart, an `idx` for most; `group`
      counts what was drawn together.
    """

    builder: str
    draw: Callable[[random.Random, int], Row | list[Row]]
    rows: dict[str, int]
    labels: int = 0
    tell_apart: Callable[[Row, int, int], Row] = lambda row, i, group: row | {"idx": i}


def rows(dataset: Dataset, seed: int) -> dict[str, list[tuple[int, Row]]]:
    """Draws all splits of a dataset as (key, features); no text comes twice."""
    rng, known = random.Random(f"{seed}/{dataset.builder}"), set()
    return {
        split: _split(rng, dataset, count, known)
        for split, count in dataset.rows.items()
    }


def sizes(train: int, validation: int, test: int = 0) -> dict[str, int]:
    """Names how many rows the splits have; those without rows are left out."""
    counts = {"train": train, "validation": validation, "test": test}
    return {split: count for split, count in counts.items() if count}


def untold(row: Row, i: int, group: int) -> Row:
    """Leaves a row as it is, where the real dataset keeps no number of it."""
    return row


def fields(draw: Callable[..., Sequence[str]], *names: str, yes: int):
    """Names the texts of a yes-or-no skill; `yes` is the label of yes."""

    def row(rng: random.Random, label: int) -> Row:
        return dict(zip(names, draw(rng, label == yes), strict=True))

    return row


def _split(
    rng: random.Random, dataset: Dataset, count: int, known: set[str]
) -> list[tuple[int, Row]]:
    found: list[tuple[int, Row]] = []
    group = 0
    while len(found) < count:
        for row in _new(rng, dataset, group, known)[: count - len(found)]:
            i = len(found)
            found.append((i, dataset.tell_apart(row, i, group)))
        group += 1
    return found


def _new(
    rng: random.Random, dataset: Dataset, group: int, known: set[str]
) -> list[Row]:
    label = group % max(dataset.labels, 1)
    while (text := repr(drawn := dataset.draw(rng, label))) in known:
        pass
    known.add(text)
    together = drawn if isinstance(drawn, list) else [drawn]
    return [row | {"label": label} if dataset.labels else row for row in together]
