"""The tasks, which sources are related to them, and their data, also ten times."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dtvg_jax.data import token_table
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import InputError
from dtvg_jax.models.backbone import Backbone
from tasks.miniature import datasets
from tasks.task_info import TASKS as CATALOGUE

SOURCES = ("mnli", "qnli", "qqp", "sst2", "superglue-record", "squad")

# The source that shares a target's skill by construction (docs/miniature.md).
RELATED = {
    "rte": "mnli",
    "mrpc": "qqp",
    "cola": "sst2",
    "superglue-boolq": "qnli",
    "superglue-cb": "mnli",
    "superglue-wic": "qqp",
}
UNRELATED = dict.fromkeys(RELATED, "squad")

TARGETS = tuple(RELATED)
TASKS = (*SOURCES, *TARGETS)
LENGTHS = (32, 2)  # most tokens of an input, of a target
TIMES = 10  # rows of the larger training set per row of the own one
SPLITS = ("train", "validation", "test")
VALIDATION_ROWS = 300  # they only choose between two steps of a run

Tables = dict[tuple[str, str], TokenTable]
Ids = tuple[int, ...]


def tables(
    backbone: Backbone, cache: pathlib.Path, target_rows: int | None = None
) -> Tables:
    """Opens all splits of all tasks, and "train_x10" of targets.

    target_rows: training rows of a target to keep; None: all.

    Raises InputError if there are too few new rows.
    """

    def open_table(task: str, split: str, folder: pathlib.Path) -> TokenTable:
        settings = token_table.TableSettings(
            backbone.vocabulary, LENGTHS, cache, folder
        )
        return token_table.token_table(task, split, settings)

    found = {
        (task, split): open_table(task, split, _world(cache, 0, TASKS))
        for task in TASKS
        for split in SPLITS
    }
    for task in TARGETS:
        found[task, "train"] = token_table.head(found[task, "train"], target_rows)
        own = [found[task, split] for split in SPLITS]
        others = (
            open_table(task, "train", _world(cache, seed, TARGETS))
            for seed in range(1, 3 * TIMES)  # more than needed, since rows may repeat
        )
        found[task, "train_x10"] = enlarge(own, others, TIMES)
    for task in TASKS:
        table = found[task, "validation"]
        found[task, "validation"] = token_table.head(table, VALIDATION_ROWS)
    return found


def enlarge(
    own: Sequence[TokenTable], others: Iterable[TokenTable], times: int
) -> TokenTable:
    """Adds rows of `others` to the first of the `own` splits, up to `times` its rows.

    Inputs are unique, and none is in another of the own splits. They are compared as
    the backbone reads them: with unknown words replaced, and truncated.
    """
    train, *rest = own
    known = {row for table in rest for row, _ in rows(table)}
    pairs: list[tuple[Ids, Ids]] = []
    wanted = times * len(train)
    for row, target in itertools.chain.from_iterable(
        map(rows, itertools.chain([train], others))
    ):
        if len(pairs) == wanted:
            break
        if row not in known:
            known.add(row)
            pairs.append((row, target))
    if len(pairs) < wanted:
        raise InputError(
            f"{train.name}: the generated data have {len(pairs)} different rows, "
            f"not {wanted}"
        )
    inputs, targets = zip(*pairs, strict=True)
    return dataclasses.replace(
        train,
        inputs=np.array(list(itertools.chain.from_iterable(inputs)), np.int32),
        input_offsets=_offsets(inputs),
        targets=np.array(list(itertools.chain.from_iterable(targets)), np.int32),
        target_offsets=_offsets(targets),
    )


def rows(table: TokenTable) -> Iterator[tuple[Ids, Ids]]:
    """Yields the ids of every input and target."""
    inputs, targets = table.inputs.tolist(), table.targets.tolist()
    for i in range(len(table)):
        first, last = table.input_offsets[i : i + 2]
        begin, end = table.target_offsets[i : i + 2]
        yield tuple(inputs[first:last]), tuple(targets[begin:end])


def _offsets(texts: Sequence[Any]) -> np.ndarray:
    return np.cumsum([0, *map(len, texts)])


def _world(cache: pathlib.Path, seed: int, names: Sequence[str]) -> pathlib.Path:
    """Writes the data of a seed for tasks whose data are absent."""
    folder = cache / f"miniature-{datasets.VERSION}-seed{seed}"
    datasets.write(folder, seed, [CATALOGUE[name].builder for name in names])
    return folder
