"""Which rows are in which split: the rule of the reference, row by row.

The reference permutes rows by PyTorch's generator with seed 42 and cuts the permuted
rows. TFDS stores rows in another order, so where it keeps `idx` a row's position is its
rank by `idx`, and the members are the reference's very rows. Where it keeps none, the
stored order, itself a fixed shuffle, is cut: the same sizes with other rows.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds
from jaxtyping import Int64

from tasks.table import TaskInfo

SEED = 42
CARVED = 1_000  # rows of a large train set that become the validation split


class Part(NamedTuple):
    """The rows of a stored split at permuted positions first <= p < last.

    `bounds` gives (first, last) for the number of stored rows.
    """

    stored: str
    bounds: Callable[[int], tuple[int, int]] = lambda rows: (0, rows)


RULES: dict[str, dict[str, Part]] = {
    "halves": {
        "train": Part("train"),
        "validation": Part("validation", lambda rows: (0, rows // 2)),
        "test": Part("validation", lambda rows: (rows // 2, rows)),
    },
    "thousand": {
        "train": Part("train", lambda rows: (CARVED, rows)),
        "validation": Part("train", lambda rows: (0, CARVED)),
        "test": Part("validation"),
    },
    "mnli": {
        "train": Part("train"),
        "validation": Part("validation_mismatched"),
        "test": Part("validation_matched"),
    },
}


def permutation(rows: int, seed: int = SEED) -> Int64[np.ndarray, " rows"]:
    """Permute 0 ... rows - 1 as `torch.randperm` does on a CPU, by NumPy alone."""
    draws = np.random.RandomState(seed).randint(
        0, 2**32, size=max(rows - 1, 0), dtype=np.uint32
    )
    order = list(range(rows))
    for i, draw in enumerate(draws.tolist()):
        j = i + draw % (rows - i)
        order[i], order[j] = order[j], order[i]
    return np.array(order, np.int64)


@functools.lru_cache(maxsize=64)
def members(
    info: TaskInfo, split: str, data_dir: str | None = None
) -> Int64[np.ndarray, " rows"]:
    """List the rows of a split in ascending order, by `row_key` or stored position.

    Args:
      info: the task.
      split: "train", "validation" or "test".
      data_dir: where TFDS data lie prepared; None for the default of TFDS.

    Raises:
      ValueError: where the data are missing, too few, or repeat an `idx`.
    """
    builder, part = _prepared(info, split, data_dir)
    rows = builder.info.splits[part.stored].num_examples
    first, last = _bounds(info, part, rows, builder.data_dir)
    if info.ids is None:
        found = np.arange(first, last)
    elif (first, last) == (0, rows):
        found = _keys(info, part.stored, data_dir)
    else:
        chosen = permutation(rows)[first:last]
        found = np.sort(_keys(info, part.stored, data_dir)[chosen])
    found.setflags(write=False)
    return found


def count(info: TaskInfo, split: str, data_dir: str | None = None) -> int:
    """Count the rows of a split without reading them.

    Raises:
      ValueError: where the data are missing or too few.
    """
    builder, part = _prepared(info, split, data_dir)
    rows = builder.info.splits[part.stored].num_examples
    first, last = _bounds(info, part, rows, builder.data_dir)
    return last - first


def digest(info: TaskInfo, split: str, data_dir: str | None = None) -> str:
    """Digest which rows of the prepared data a split has, whatever their text.

    Raises:
      ValueError: as `members` does.
    """
    name = f"{info.builder} {RULES[info.rule][split].stored}\n"
    rows = members(info, split, data_dir).astype("<i8")
    return hashlib.sha256(name.encode() + rows.tobytes()).hexdigest()


def row_key(row: Mapping[str, Any], ids: tuple[str, ...]) -> tf.Tensor:
    """Make one int64 of a row's `idx`, ordered as its fields `ids` are, first first.

    Args:
      row: tensors of any shape, the same for all fields.
      ids: names of the fields under `idx`; none where `idx` is a number.
    """
    numbers = [row["idx"][name] for name in ids] if ids else [row["idx"]]
    key = tf.cast(numbers[0], tf.int64)
    for number in numbers[1:]:
        key = key * 2**20 + tf.cast(number, tf.int64)
    return key


class SplitSource(seqio.TfdsDataSource):
    """Prepared TFDS data with the reference's splits; it never downloads.

    Rows come in stored order (or that of shuffled files), not in permuted order.

    Args:
      info: the task whose builder and rule are read.
      train_map: a change of the train split's raw rows, made after it is carved.
    """

    def __init__(
        self,
        info: TaskInfo,
        train_map: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None,
    ):
        stored = {split: part.stored for split, part in RULES[info.rule].items()}
        super().__init__(tfds_name=info.builder, splits=stored, read_only=True)
        self.info = info
        self._train_map = train_map

    def get_dataset(
        self,
        split: str | None = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        **unused: Any,
    ) -> tf.data.Dataset:
        """Read the raw rows of a split.

        Raises:
          ValueError: where the data are missing or too few, or one shard is asked for.
        """
        del unused
        if shard_info and shard_info.num_shards > 1:
            raise ValueError(
                "A carved split is not stored in shards of its own: "
                "shard its rows by tf.data.Dataset.shard."
            )
        split = split or "train"
        data_dir = self.tfds_dataset.data_dir
        builder, part = _prepared(self.info, split, data_dir)
        rows = members(self.info, split, data_dir)
        stored = part.stored
        if self.info.ids is None:
            stored += f"[{rows[0]}:{rows[-1] + 1}]"
        config = self.tfds_dataset.read_config
        config.shuffle_seed = seed
        config.skip_prefetch = True
        dataset = builder.as_dataset(
            split=stored, shuffle_files=shuffle, read_config=config
        )
        if len(rows) < builder.info.splits[stored].num_examples:
            dataset = dataset.filter(_is_member(rows, self.info.ids or ()))
        if split == "train" and self._train_map:
            dataset = self._train_map(dataset)
        return dataset

    def num_input_examples(self, split: str) -> int:
        """Count the rows of a split as they are stored."""
        return count(self.info, split, self.tfds_dataset.data_dir)

    # The base caches its method, which gives it another type.
    def list_shards(self, split: str) -> list[str]:  # pyright: ignore
        """Name the one shard of a split, so that SeqIO shards by rows."""
        return [split]


def _is_member(
    rows: Int64[np.ndarray, " rows"], ids: tuple[str, ...]
) -> Callable[[Mapping[str, Any]], tf.Tensor]:
    def is_member(row: Mapping[str, Any]) -> tf.Tensor:
        key = row_key(row, ids)
        place = tf.searchsorted(rows, [key])[0]
        return tf.gather(rows, tf.minimum(place, len(rows) - 1)) == key

    return is_member


@functools.lru_cache(maxsize=64)
def _keys(
    info: TaskInfo, stored: str, data_dir: str | None
) -> Int64[np.ndarray, " rows"]:
    """Read the keys of all rows of a stored split, in ascending order."""
    ids = info.ids or ()
    builder = tfds.builder(info.builder, data_dir=data_dir)
    only = tfds.decode.PartialDecoding({"idx": dict.fromkeys(ids, True) or True})
    # TFDS hides the arguments behind a decorator.
    dataset = builder.as_dataset(split=stored, decoders=only)  # pyright: ignore
    batches = dataset.batch(4096).map(lambda batch: row_key(batch, ids))
    keys = np.sort(np.concatenate(list(batches.as_numpy_iterator())))
    if (keys[1:] == keys[:-1]).any():
        raise ValueError(
            f"Rows of the split '{stored}' in {builder.data_dir} repeat an idx, by "
            f"which {info.name} orders its rows: every row needs an idx of its own."
        )
    return keys


def _prepared(info: TaskInfo, split: str, data_dir: str | None) -> tuple[Any, Part]:
    if split not in RULES[info.rule]:
        raise ValueError(
            f"{info.name} has no split '{split}': it has {', '.join(RULES[info.rule])}."
        )
    part = RULES[info.rule][split]
    builder = tfds.builder(info.builder, data_dir=data_dir)
    if part.stored not in builder.info.splits:
        raise ValueError(
            f"The split '{part.stored}' of the data set {info.builder} is not prepared "
            f"in {builder.data_dir}. Give another tfds_data_dir, or write generated "
            f"data by `python -m tasks.miniature --out DIR`, or the real data by "
            f"`tfds build {info.builder.partition(':')[0]} --data_dir DIR`."
        )
    return builder, part


def _bounds(info: TaskInfo, part: Part, rows: int, where: str) -> tuple[int, int]:
    first, last = part.bounds(rows)
    if not 0 <= first < last <= rows:
        raise ValueError(
            f"The split '{part.stored}' of {info.builder} in {where} has {rows} "
            f"rows, too few to carve the splits of {info.name} out of it: give data "
            f"with more than {CARVED if info.rule == 'thousand' else 1} there."
        )
    return first, last
