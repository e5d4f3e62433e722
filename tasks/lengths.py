"""What truncating texts costs: rows that are truncated, and answers that are lost."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import seqio

from . import all as registered  # noqa: F401 registers the tasks
from .task_info import SPAN, TaskInfo


class Cost(NamedTuple):
    """Shares of rows, in per cent, and the longest input in tokens.

    `answers_lost`: no gold answer is left in the text, though one was there; None where
    answers are not part of the text.
    """

    rows: int
    longest: int
    inputs_truncated: float
    targets_truncated: float
    answers_lost: float | None


def measure(
    info: TaskInfo, split: str, data_dir: str, vocabulary: seqio.Vocabulary
) -> Cost:
    """Measure the cost of `info.inputs_length` and `info.targets_length` on a split.

    Raises:
      ValueError: where the split is not prepared, or cannot be carved.
    """
    task = seqio.TaskRegistry.get(info.seqio_name)
    source: Any = task.source
    source.tfds_dataset.override_data_dir(data_dir)
    dataset = source.get_dataset(split, shuffle=False)
    steps = list(task.preprocessors)
    for formatted in steps[: steps.index(seqio.preprocessors.tokenize)]:
        dataset = formatted(dataset)
    return _cost(info, dataset.as_numpy_iterator(), vocabulary)


def _cost(
    info: TaskInfo, rows: Iterable[dict[str, Any]], vocabulary: seqio.Vocabulary
) -> Cost:
    in_text = info.labels is None and info.metrics == SPAN
    count = longest = inputs_truncated = targets_truncated = lost = 0
    for row in rows:
        ids = vocabulary.encode(row["inputs"].decode())
        kept = ids[: info.inputs_length - 1]  # the end takes one
        count += 1
        longest = max(longest, len(ids) + 1)
        target = vocabulary.encode(row["targets"].decode())
        targets_truncated += len(target) >= info.targets_length
        if len(kept) < len(ids):
            inputs_truncated += 1
            lost += in_text and _lost(row, ids, kept, vocabulary)
    share = lambda number: 100 * number / count
    return Cost(
        count,
        longest,
        share(inputs_truncated),
        share(targets_truncated),
        share(lost) if in_text else None,
    )


def _lost(
    row: dict[str, Any], ids: Any, kept: Any, vocabulary: seqio.Vocabulary
) -> bool:
    """Tell whether gold answers were there, and none is left; as pieces spell them."""
    whole, left = vocabulary.decode(ids), vocabulary.decode(kept)
    golds = [
        vocabulary.decode(vocabulary.encode(gold.decode())) for gold in row["answers"]
    ]
    return any(gold in whole for gold in golds) and not any(g in left for g in golds)
