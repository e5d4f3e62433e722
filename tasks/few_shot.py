"""A few rows of a training split, by the rules of earlier papers.

`random_k` takes the first k rows of the permutation of the training rows, as ATTEMPT
does by its largest number of training samples. `balanced_k` walks through shuffled rows
and keeps equally many of each class, as DePT does, with its side effects: the last row
may be of any class, so one class can have one more; three classes and k = 32 give 30.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from jaxtyping import Int64

from . import splits

RULES = ("random_k", "balanced_k")
MIDDLE = 2.5  # of similarities: those above it are one class, the others the second


class Shots(NamedTuple):
    """Which rows to take: by which rule, how many, and drawn by which seed."""

    rule: str
    k: int
    seed: int


def choose(
    shots: Shots, rows: int, classes: Sequence[Any] | None, number: int = 0
) -> Int64[np.ndarray, " k"]:
    """Choose positions among `rows`, in the order in which they are drawn.

    Args:
      shots: see there.
      rows: of the training split.
      classes: the class of each row; None where rows have none.
      number: how many classes there are; 0 for as many as `classes` shows.

    Raises:
      ValueError: for fewer than k rows, or rows without classes to be balanced.
    """
    if rows < shots.k:
        raise ValueError(
            f"there are {rows} training rows, fewer than {shots.k}: take fewer shots"
        )
    if shots.rule == "random_k":
        return splits.permutation(rows, shots.seed)[: shots.k]
    if shots.rule != "balanced_k":
        raise ValueError(f"the rule {shots.rule!r} is unknown: {' or '.join(RULES)}")
    if classes is None:
        raise ValueError(
            "its answers are free texts, so no classes can be balanced: take random_k"
        )
    return _balanced(shots, classes, number or len(set(classes)))


def of_texts(rows: Sequence[Any], shots: Shots) -> list[Any]:
    """Choose among rows of a task outside the catalogue; `targets` are the classes."""
    targets = [row.targets for row in rows]
    return [rows[i] for i in sorted(choose(shots, len(rows), targets))]


class FewShotSource(splits.SplitSource):
    """A source whose training split has k rows; its other splits stay whole."""

    def __init__(self, source: splits.SplitSource, shots: Shots):
        super().__init__(source.info, source.train_map, source.features)
        if data_dir := source.tfds_dataset.data_dir:
            self.tfds_dataset.override_data_dir(data_dir)
        self.shots = shots

    def change_train(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Keep the chosen rows, wherever they are stored."""
        chosen = tf.constant(np.sort(self._positions()))

        def is_chosen(position: Any, row: Any) -> Any:
            del row
            return tf.reduce_any(chosen == position)

        numbered = dataset.enumerate().filter(is_chosen)  # pyright: ignore[reportArgumentType]
        kept = numbered.map(lambda _, row: row)
        return super().change_train(kept)

    def _positions(self) -> Int64[np.ndarray, " k"]:
        """Find the places of the chosen rows in stored order.

        Rows are numbered as the reference has them where TFDS keeps that order, else
        as they are stored.
        """
        info, data_dir = self.info, self.tfds_dataset.data_dir
        label = ("label",) if info.labels or "pearson" in info.metrics else ()
        plain = splits.SplitSource(info, features=(*(info.ids or ()), *label))
        if data_dir:
            plain.tfds_dataset.override_data_dir(data_dir)
        ordered = info.ids is not None and not splits.has_groups(info)
        rows = splits.count(info, "train", data_dir)
        order, classes = np.arange(rows), None
        if ordered or label:
            numbers = _numbers(plain, (info.ids or ()) if ordered else (), label)
            if ordered:
                keys = splits.ordered_members(info, "train", data_dir)
                places = {key: place for place, key in enumerate(keys.tolist())}
                order = np.argsort([places[key] for key in numbers["key"].tolist()])
            if label:
                classes = [_class(numbers["label"][i]) for i in order]
        number = len(info.labels or (0, 1))
        try:
            return order[choose(self.shots, rows, classes, number)]
        except ValueError as error:
            raise ValueError(f"{info.name}: {error}") from None


def _numbers(
    source: splits.SplitSource, ids: Sequence[str], label: Sequence[str]
) -> dict[str, np.ndarray]:
    """Read the keys and the labels of all training rows in stored order."""

    def numbers(batch: Any) -> dict[str, tf.Tensor]:
        key = {"key": splits.row_key(batch, tuple(ids))} if ids else {}
        return key | {name: batch[name] for name in label}

    dataset = source.get_dataset("train", shuffle=False).batch(4096).map(numbers)
    batches = list(dataset.as_numpy_iterator())
    return {
        name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
    }


def _class(label: np.generic) -> int:
    value = label.item()
    return int(value > MIDDLE) if isinstance(value, float) else value


def _balanced(
    shots: Shots, classes: Sequence[Any], number: int
) -> Int64[np.ndarray, " k"]:
    order = np.random.default_rng(shots.seed).permutation(len(classes))
    kept, counts = [], dict.fromkeys(classes, 0)
    for i in order.tolist():
        if len(kept) == shots.k:
            break
        if counts[classes[i]] < shots.k // number or len(kept) == shots.k - 1:
            kept.append(i)
            counts[classes[i]] += 1
    return np.array(kept, np.int64)
