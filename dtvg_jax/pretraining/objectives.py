"""Bases for pretraining other than generated ones: SeqIO tasks, span corruption."""

import dataclasses
import random
from collections.abc import Sequence

from dtvg_jax import files
from dtvg_jax.data import source
from dtvg_jax.errors import InputError
from dtvg_jax.formats import vocabularies
from dtvg_jax.pretraining.mixture import Base

SENTINELS = 100  # that T5 has


@dataclasses.dataclass(frozen=True)
class Rows:
    """A base that draws from rows of text and target; it has one label map."""

    name: str
    rows: Sequence[tuple[str, str]]
    weight: float = 1.0
    classes: tuple[str, ...] = ()
    maps: tuple[str, ...] = ("words",)
    early: bool = True

    def example(self, rng: random.Random, label_map: str) -> tuple[str, str]:
        """Draws a row."""
        del label_map
        return self.rows[int(rng.random() * len(self.rows))]


@dataclasses.dataclass(frozen=True)
class SpanCorruption:
    """Wraps a base: spans of its texts are the targets, not its own targets."""

    base: Base
    density: float = 0.15
    mean_length: float = 3.0
    weight: float = 1.0
    classes: tuple[str, ...] = ()
    maps: tuple[str, ...] = ("words",)
    early: bool = True

    @property
    def name(self) -> str:
        return f"spans_of_{self.base.name}"

    def example(self, rng: random.Random, label_map: str) -> tuple[str, str]:
        """Draws a text of the base and corrupts it."""
        text, _ = self.base.example(rng, self.base.maps[0])
        return corrupt(rng, text, self.density, self.mean_length)


def seqio_bases(
    tasks: Sequence[str],
    tfds_data_dir: str | None = None,
    split: str = "train",
    tasks_module: str = "tasks.all",
) -> tuple[Rows, ...]:
    """Reads SeqIO tasks ("dtvg_mnli_words") into memory, a base for each.

    Raises:
      InputError: for an unknown task, or data that are missing.
    """
    found = []
    folder = tfds_data_dir and files.expand_local(tfds_data_dir, "the data folder")
    for name in tasks:
        task = source.open_task(name, tasks_module, folder)
        rows = [(row.inputs, row.targets) for row in source.text_rows(task, split)]
        found.append(Rows(name, rows))
    return tuple(found)


def span_corruption(
    bases: Sequence[Base], density: float = 0.15, mean_length: float = 3.0
) -> tuple[SpanCorruption, ...]:
    """Makes of every base one that asks for spans of its texts."""
    return tuple(SpanCorruption(base, density, mean_length) for base in bases)


def both(first: Sequence[Base], second: Sequence[Base]) -> tuple[Base, ...]:
    """Joins two lists of bases, for gin."""
    return (*first, *second)


def vocabulary_file(path: str, sentinels: int = SENTINELS) -> bytes:
    """Reads a SentencePiece model and adds the sentinels that spans need.

    Raises:
      InputError: where the file cannot be read.
    """
    try:
        return vocabularies.with_sentinels(files.expand(path).read_bytes(), sentinels)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def corrupt(
    rng: random.Random, text: str, density: float = 0.15, mean_length: float = 3.0
) -> tuple[str, str]:
    """Puts sentinels in place of spans of words; the target is what stood there.

    As in T5's pretraining, about `density` of the words are taken, in spans of about
    `mean_length`; the first word is kept. There words are pieces, and a text always
    ends with a span, which with one span would always be the same.

    Raises:
      InputError: for a text of fewer than two words, or more spans than sentinels.
    """
    words = text.split()
    if len(words) < 2:
        raise InputError(f"{text!r} is too short to take a span out of it")
    taken = min(max(round(len(words) * density), 1), len(words) - 1)
    spans = min(max(round(taken / mean_length), 1), len(words) - taken)
    if spans > SENTINELS:
        raise InputError(f"a text needs {spans} sentinels, T5 has {SENTINELS}")
    # With a word more, which is not there, the part behind the last span may be empty.
    kept_parts = _parts(rng, len(words) - taken + 1, spans + 1)[:-1]
    taken_parts = _parts(rng, taken, spans)
    inputs, targets, at = [], [], 0
    for i, (kept, gone) in enumerate(zip(kept_parts, taken_parts, strict=True)):
        sentinel = f"<extra_id_{i}>"
        inputs += [*words[at : at + kept], sentinel]
        targets += [sentinel, *words[at + kept : at + kept + gone]]
        at += kept + gone
    return " ".join([*inputs, *words[at:]]), " ".join(targets)


def _parts(rng: random.Random, total: int, parts: int) -> list[int]:
    """Splits `total` words into parts of at least one, all ways equally likely."""
    places = list(range(1, total))
    cuts = []
    for _ in range(parts - 1):
        cuts.append(places.pop(int(rng.random() * len(places))))
    edges = [0, *sorted(cuts), total]
    return [end - start for start, end in zip(edges, edges[1:], strict=False)]
