"""Which rows are in which split: the rule of the reference, row by row.

The reference permutes rows by PyTorch's generator with seed 42 and carves splits out
of the permuted rows. TFDS stores rows in another order, so where it keeps `idx` a row's
position is its rank by `idx`, and the members are the reference's very rows. Where it
keeps none, splits are carved out of the stored order, itself a fixed shuffle: the same
sizes with other rows.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds
from jaxtyping import Int64

from .task_info import SPLITS, TaskInfo

SEED = 42
CARVED = 1_000  # rows of a large train set that become the validation split


class Part(NamedTuple):
    """The rows of a stored split at permuted positions first <= p < last.

    `bounds` gives (first, last) for the number of stored rows. With `whole_groups`,
    rows that share a key are permuted as one and stay together: they go where the
    first of them goes.
    """

    stored: str
    bounds: Callable[[int], tuple[int, int]] = lambda rows: (0, rows)
    whole_groups: bool = False


def _first_thousand(rows: int) -> tuple[int, int]:
    return 0, CARVED


def _beyond_thousand(rows: int) -> tuple[int, int]:
    return CARVED, rows


RULES: dict[str, dict[str, Part]] = {
    "stored": {split: Part(split) for split in SPLITS},
    "halves": {
        "train": Part("train"),
        "validation": Part("validation", lambda rows: (0, rows // 2)),
        "test": Part("validation", lambda rows: (rows // 2, rows)),
    },
    "thousand": {
        "train": Part("train", _beyond_thousand),
        "validation": Part("train", _first_thousand),
        "test": Part("validation"),
    },
    "mnli": {
        "train": Part("train"),
        "validation": Part("validation_mismatched"),
        "test": Part("validation_matched"),
    },
    "winogrande": {
        "train": Part("train_xl", _beyond_thousand),
        "validation": Part("train_xl", _first_thousand),
        "test": Part("validation"),
    },
    "yelp": {
        "train": Part("train", lambda rows: (CARVED, min(CARVED + 100_000, rows))),
        "validation": Part("train", _first_thousand),
        "test": Part("test"),
    },
    "grouped halves": {
        "train": Part("train", whole_groups=True),
        "validation": Part("validation", lambda rows: (0, rows // 2), True),
        "test": Part("validation", lambda rows: (rows // 2, rows), True),
    },
    # The official test rows have no references, and a set of concepts has many rows.
    "concepts": {
        "train": Part("train", _beyond_thousand, whole_groups=True),
        "validation": Part("train", _first_thousand, whole_groups=True),
        "test": Part("validation", whole_groups=True),
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
    """List the keys of a split's rows in ascending order, each once.

    Args:
      info: the task. The key of a row is `row_key`, or its stored position.
      split: "train", "validation" or "test".
      data_dir: where TFDS data lie prepared; None for the default of TFDS.

    Raises:
      ValueError: where the data are missing, too few, or repeat a key.
    """
    found = np.sort(ordered_members(info, split, data_dir))
    found.setflags(write=False)
    return found


def ordered_members(
    info: TaskInfo, split: str, data_dir: str | None = None
) -> Int64[np.ndarray, " rows"]:
    """List what `members` does in the order in which the reference has the rows."""
    builder, part = _prepared(info, split, data_dir)
    first, last, rows = _bounds(info, part, builder)
    if info.ids is None:
        return np.arange(first, last)
    keys, sizes = _keys(info, part, data_dir)
    if (first, last) == (0, rows):
        return keys
    order = permutation(len(keys))
    starts = np.cumsum(sizes[order]) - sizes[order]
    return keys[order[(first <= starts) & (starts < last)]]


def has_groups(info: TaskInfo) -> bool:
    """Tell whether rows of a task share keys and stay together."""
    return any(part.whole_groups for part in RULES[info.rule].values())


def count(info: TaskInfo, split: str, data_dir: str | None = None) -> int:
    """Count the rows of a split.

    Raises:
      ValueError: as `members` does.
    """
    builder, part = _prepared(info, split, data_dir)
    first, last, rows = _bounds(info, part, builder)
    if part.whole_groups and (first, last) != (0, rows):
        keys, sizes = _keys(info, part, data_dir)
        return int(sizes[np.isin(keys, members(info, split, data_dir))].sum())
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
    """Make one int64 of a row's `ids`, ordered as they are, the first before all.

    Args:
      row: tensors of any shape, the same for all features.
      ids: at most three features, numbers below 2^20; see `TaskInfo`.
    """
    key = tf.constant(0, tf.int64)
    for path in ids:
        number: Any = row
        for name in path.split("/"):
            number = number[name]
        key = key * 2**20 + tf.cast(number, tf.int64)
    return key


class SplitSource(seqio.TfdsDataSource):
    """Prepared TFDS data with the reference's splits; it never downloads.

    Rows come in stored order (or that of shuffled files), not in permuted order.

    Args:
      info: the task whose builder and rule are read.
      train_map: a change of the train split's raw rows, made after it is carved.
      features: those to read, where others would cost much ("idx/query" is `query`
        under `idx`); None for all.
    """

    def __init__(
        self,
        info: TaskInfo,
        train_map: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None,
        features: Sequence[str] | None = None,
    ):
        stored = {split: part.stored for split, part in RULES[info.rule].items()}
        super().__init__(tfds_name=info.builder, splits=stored, read_only=True)
        self.info = info
        self.train_map = train_map
        self.features = features
        self._decoders = features and tfds.decode.PartialDecoding(_only(features))

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
                "a carved split is not stored in shards of its own: "
                "shard its rows by tf.data.Dataset.shard"
            )
        split = split or "train"
        data_dir = self.tfds_dataset.data_dir
        builder, part = _prepared(self.info, split, data_dir)
        first, last, rows = _bounds(self.info, part, builder)
        stored = part.stored
        if self.info.ids is None:
            stored += f"[{first}:{last}]"
        config = self.tfds_dataset.read_config
        config.shuffle_seed = seed
        config.skip_prefetch = True
        config.try_autocache = False  # a table is made of one pass: memory stays flat
        dataset = builder.as_dataset(
            split=stored,
            shuffle_files=shuffle,
            read_config=config,
            decoders=self._decoders,
        )
        if self.info.ids is not None and (first, last) != (0, rows):
            keys = members(self.info, split, data_dir)
            dataset = dataset.filter(_is_member(keys, self.info.ids))
        return self.change_train(dataset) if split == "train" else dataset

    def change_train(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Change the raw rows of the train split once it is carved."""
        return self.train_map(dataset) if self.train_map else dataset

    def num_input_examples(self, split: str) -> int:
        """Count the rows of a split as they are stored."""
        return count(self.info, split, self.tfds_dataset.data_dir)

    # The base caches its method, which gives it another type.
    def list_shards(self, split: str) -> list[str]:  # pyright: ignore
        """Name the one shard of a split, so that SeqIO shards by rows."""
        return [split]


def _is_member(
    keys: Int64[np.ndarray, " rows"], ids: tuple[str, ...]
) -> Callable[[Mapping[str, Any]], tf.Tensor]:
    def is_member(row: Mapping[str, Any]) -> tf.Tensor:
        key = row_key(row, ids)
        place = tf.searchsorted(keys, [key])[0]
        return tf.gather(keys, tf.minimum(place, len(keys) - 1)) == key

    return is_member


def _keys(
    info: TaskInfo, part: Part, data_dir: str | None
) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """Read the keys of a stored split in ascending order, and the rows of each."""
    keys, sizes = _read_keys(info, part.stored, data_dir)
    if not part.whole_groups and len(keys) < sizes.sum():
        raise ValueError(
            f"rows of the split '{part.stored}' of {info.builder} repeat "
            f"{' and '.join(info.ids or ())}, by which {info.name} orders its rows: "
            "every row needs a value of its own"
        )
    return keys, sizes


@functools.lru_cache(maxsize=64)
def _read_keys(
    info: TaskInfo, stored: str, data_dir: str | None
) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    ids = info.ids or ()
    # TFDS hides arguments of its methods behind a decorator.
    builder: Any = tfds.builder(info.builder, data_dir=data_dir)
    decoders = tfds.decode.PartialDecoding(_only(ids))
    config = tfds.ReadConfig(try_autocache=False)
    dataset = builder.as_dataset(split=stored, decoders=decoders, read_config=config)
    batches = dataset.batch(4096).map(lambda batch: row_key(batch, ids))
    keys = np.concatenate(list(batches.as_numpy_iterator()))
    return np.unique(keys, return_counts=True)


def _only(paths: Sequence[str]) -> dict[str, Any]:
    """Name features for TFDS to read, "idx/query" as {"idx": {"query": True}}."""
    only: dict[str, Any] = {}
    for path in paths:
        name, _, inner = path.partition("/")
        only[name] = only.get(name, {}) | {inner: True} if inner else True
    return only


def _prepared(info: TaskInfo, split: str, data_dir: str | None) -> tuple[Any, Part]:
    if split not in RULES[info.rule]:
        raise ValueError(
            f"{info.name} has no split '{split}': it has {', '.join(RULES[info.rule])}"
        )
    part = RULES[info.rule][split]
    builder = tfds.builder(info.builder, data_dir=data_dir)
    if part.stored not in builder.info.splits:
        raise ValueError(
            f"the split '{part.stored}' of the data set {info.builder} is not prepared "
            f"in {builder.data_dir}: give another tfds_data_dir, or write generated "
            f"data by `python -m tasks.miniature --out DIR`, or the real data by "
            f"`tfds build {info.builder.partition(':')[0]} --data_dir DIR`"
        )
    return builder, part


def _bounds(info: TaskInfo, part: Part, builder: Any) -> tuple[int, int, int]:
    """Give the positions of a part, first and last, and the number of stored rows."""
    rows = builder.info.splits[part.stored].num_examples
    first, last = part.bounds(rows)
    if not 0 <= first < last <= rows:
        least = CARVED if CARVED in (first, last) else 1
        raise ValueError(
            f"the split '{part.stored}' of {info.builder} in {builder.data_dir} has "
            f"{rows} rows, too few to carve the splits of {info.name} out of it: give "
            f"data with more than {least} there"
        )
    return first, last, rows
