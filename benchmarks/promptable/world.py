"""Which tasks there are, what is related to what, and their data, tenfold too."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dtvg_jax.backbones.backbone import Backbone
from dtvg_jax.data import token_table
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import InputError
from tasks.miniature import datasets

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
LENGTHS = (32, 2)  # most tokens of an input and of a target
TIMES = 10  # of the own training rows, in the larger training set
SPLITS = ("train", "validation", "test")
VALIDATION_ROWS = 300  # they only choose between two steps of a run

Tables = dict[tuple[str, str], TokenTable]


def tables(backbone: Backbone, cache: pathlib.Path) -> Tables:
    """Opens all splits of all tasks, and of targets "train_x10".

    Raises InputError where test rows are among training rows, or new ones run out.
    """
    open_table = functools.partial(
        token_table.token_table,
        vocabulary=backbone.vocabulary,
        lengths=LENGTHS,
        cache_dir=cache / "token_tables",
    )
    found = {
        (task, split): open_table(task, split, tfds_data_dir=_world(cache, 0))
        for task in TASKS
        for split in SPLITS
    }
    for task in TARGETS:
        own = [found[task, split] for split in SPLITS]
        others = (
            open_table(task, "train", tfds_data_dir=_world(cache, seed))
            for seed in range(1, 3 * TIMES)  # more than needed: rows may come twice
        )
        found[task, "train_x10"] = enlarge(own, others, TIMES)
    for task in TASKS:
        table = found[task, "validation"]
        found[task, "validation"] = token_table.head(table, VALIDATION_ROWS)
    return found


def enlarge(
    own: Sequence[TokenTable], others: Iterable[TokenTable], times: int
) -> TokenTable:
    """Adds to the first of the `own` splits rows of `others`, up to `times` its rows.

    No input comes twice, and none that is in another of the own splits is added.
    """
    train, *rest = own
    known = {row for table in rest for row, _ in rows(table)}
    pairs = list(rows(train))
    if double := [row for row, _ in pairs if row in known]:
        raise InputError(
            f"{train.name}: {len(double)} training rows are tested too, as the "
            "backbone reads them: its vocabulary or LENGTHS lose what tells rows apart"
        )
    known |= {row for row, _ in pairs}
    wanted = times * len(pairs)
    for row, target in itertools.chain.from_iterable(map(rows, others)):
        if len(pairs) == wanted:
            break
        if row not in known:
            known.add(row)
            pairs.append((row, target))
    if len(pairs) < wanted:
        raise InputError(
            f"{train.name}: the worlds gave {len(pairs)} different rows, not {wanted}"
        )
    inputs, targets = zip(*pairs, strict=True)
    return dataclasses.replace(
        train,
        inputs=np.array(list(itertools.chain.from_iterable(inputs)), np.int32),
        input_offsets=_offsets(inputs),
        targets=np.array(list(itertools.chain.from_iterable(targets)), np.int32),
        target_offsets=_offsets(targets),
    )


def rows(table: TokenTable) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yields the ids of every input and target."""
    inputs, targets = table.inputs.tolist(), table.targets.tolist()
    for i in range(len(table)):
        first, last = table.input_offsets[i : i + 2]
        begin, end = table.target_offsets[i : i + 2]
        yield tuple(inputs[first:last]), tuple(targets[begin:end])


def _offsets(texts: Sequence[Any]) -> np.ndarray:
    return np.cumsum([0, *map(len, texts)])


def _world(cache: pathlib.Path, seed: int) -> pathlib.Path:
    """Writes the rows of a seed, unless they are there."""
    folder = cache / f"miniature-{datasets.VERSION}-seed{seed}"
    datasets.write(folder, seed)
    return folder
