"""Token tables made from a few lines of text, without SeqIO."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from dtvg_jax.data import catalogue, token_table, token_table_files, tokenise
from dtvg_jax.models.backbone import Vocabulary

NO_SCORING = catalogue.Scoring(())


@dataclasses.dataclass(frozen=True)
class ByteVocabulary:
    """Bytes as ids 2 to 257; 1 ends a sequence and 0 begins one, where asked for."""

    prefix_ids: tuple[int, ...] = ()
    input_suffix: str = ""
    eos_id: int = 1
    size: int = 258
    digest: str = "bytes"

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[byte + 2 for byte in text.encode()] for text in texts]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        return [bytes(i - 2 for i in row if i >= 2).decode() for row in ids]


def text_of(ids: Iterable[int]) -> str:
    """Spells ids, with | for the end, ^ for the beginning and _ for padding."""
    marks = {1: "|", 0: "^", -1: "_"}
    return "".join(marks.get(int(i)) or chr(int(i) - 2) for i in ids)


def rows(n: int, length: int = 5) -> list[tokenise.TextRow]:
    """Makes n different rows of lengths 0 to `length` with a digit as target."""
    return [
        tokenise.TextRow(f"{i:0{length}d}"[: i % (length + 1)], str(i % 3), str(i % 3))
        for i in range(n)
    ]


def make(
    folder: pathlib.Path,
    content: Iterable[tokenise.TextRow],
    vocabulary: Vocabulary | None = None,
    lengths: tuple[int, int] = (8, 4),
    task: str = "toy",
    scoring: catalogue.Scoring = NO_SCORING,
) -> token_table.TokenTable:
    """Writes a table and opens it."""
    origin = token_table_files.Origin(task, "train", {})
    token_table_files.write(
        folder, content, vocabulary or ByteVocabulary(), lengths, origin
    )
    return token_table.read_table(folder, {}, scoring)


def of_ids(
    inputs: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    lengths: tuple[int, int],
) -> token_table.TokenTable:
    """Holds ids in memory as a table that was never written."""
    metadata = token_table_files.TableMetadata(
        task="toy",
        split="train",
        lengths=lengths,
        rows=len(inputs),
        longest_input=max(map(len, inputs)),
        longest_target=max(map(len, targets)),
        inputs_truncated=0,
        targets_truncated=0,
        targets_unreadable=0,
        split_digest="",
        files={},
        request={},
    )
    return token_table.TokenTable(
        *_laid_out(inputs), *_laid_out(targets), metadata, pathlib.Path(), NO_SCORING
    )


def _laid_out(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array(list(itertools.chain.from_iterable(rows)), np.int32)
    return ids, np.cumsum([0, *map(len, rows)])
