"""Text rows to token rows: what is truncated, and where the end-of-sequence id goes."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from dtvg_jax.models.backbone import Vocabulary

CHUNK_ROWS = 1024  # rows tokenised by one call and held in memory at once


# A gold answer as JSON has it: a text, a number, or a list or dict of these.
Gold: TypeAlias = object


class TextRow(NamedTuple):
    """One example as text, with the gold answer that its metrics compare with."""

    inputs: str
    targets: str
    gold: Gold


class TokenRows(NamedTuple):
    """Some rows as ids, in order, and which inputs and targets were too long."""

    inputs: list[list[int]]
    targets: list[list[int]]
    inputs_truncated: list[bool]
    targets_truncated: list[bool]


def chunks(rows: Iterable[TextRow], size: int = CHUNK_ROWS) -> Iterator[list[TextRow]]:
    """Yields the rows in lists of at most `size`, never holding more than one list."""
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, size)):
        yield chunk


def tokenise(
    rows: Sequence[TextRow], vocabulary: Vocabulary, lengths: tuple[int, int]
) -> TokenRows:
    """Encodes rows so that no input is longer than T and no target longer than L.

    Targets, and the inputs of an encoder, are truncated first and then end with the
    end-of-sequence id, as SeqIO's `append_eos_after_trim` does. An input that is
    followed by its answer in the same sequence (a vocabulary with `input_suffix`)
    has no such end: it is prefix ids, text, suffix, and only the text is truncated.

    Args:
      rows: the text of one chunk.
      vocabulary: the backbone's.
      lengths: (T, L), counted in ids, with prefix, suffix and end included.
    """
    if vocabulary.input_suffix:
        inputs, inputs_truncated = _prompting_inputs(rows, vocabulary, lengths[0])
    else:
        ids = vocabulary.encode([row.inputs for row in rows])
        room = lengths[0] - len(vocabulary.prefix_ids)
        inputs, inputs_truncated = _with_end(ids, vocabulary.eos_id, room)
        inputs = [[*vocabulary.prefix_ids, *row] for row in inputs]
    ids = vocabulary.encode([row.targets for row in rows])
    targets, targets_truncated = _with_end(ids, vocabulary.eos_id, lengths[1])
    return TokenRows(inputs, targets, inputs_truncated, targets_truncated)


def suffix_length(vocabulary: Vocabulary) -> int:
    """Counts the ids that the input suffix takes behind a text."""
    if not vocabulary.input_suffix:
        return 0
    bare, whole = vocabulary.encode([".", "." + vocabulary.input_suffix])
    return len(whole) - len(bare)


def _with_end(
    rows: list[list[int]], eos_id: int, length: int
) -> tuple[list[list[int]], list[bool]]:
    truncated = [len(ids) >= length for ids in rows]
    return [[*ids[: length - 1], eos_id] for ids in rows], truncated


def _prompting_inputs(
    rows: Sequence[TextRow], vocabulary: Vocabulary, length: int
) -> tuple[list[list[int]], list[bool]]:
    # Text and suffix are encoded together, as the reference does: a vocabulary may
    # mark the start of a text. Too long a row loses ids between text and suffix.
    ids = vocabulary.encode([row.inputs + vocabulary.input_suffix for row in rows])
    end = suffix_length(vocabulary)
    room = length - len(vocabulary.prefix_ids)
    truncated = [len(row) > room for row in ids]
    inputs = []
    for row, is_long in zip(ids, truncated, strict=True):
        if is_long:
            row = row[: room - end] + row[len(row) - end :]
        inputs.append([*vocabulary.prefix_ids, *row])
    return inputs, truncated
