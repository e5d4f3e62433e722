"""What a job has measured so far: a file per part, kept until results.json is made.

    measured/<program>.json     the tested prompts of a program
    measured/sources.json       what stage 1's prompts are to each other

A part that is there is not measured again, so an interrupted job loses at most one.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from dtvg_jax import files
from dtvg_jax.files import Record
from dtvg_jax.report.records import ResultRow, SimilarityMatrix, SingleSource

REMEDY = "remove it, and its prompts will be tested again"
SOURCES = "sources"


@dataclasses.dataclass(frozen=True)
class Tested:
    """The tested prompts of a program; seconds of training (if here) and of tests."""

    rows: Sequence[ResultRow]
    seconds: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Compared:
    """Sources tried on targets, and similarities by seed."""

    single_source: Sequence[SingleSource]
    similarity: Mapping[str, SimilarityMatrix]
    seconds: Mapping[str, float]


def read(folder: pathlib.Path, part: str, cls: type[Record]) -> Record | None:
    """Reads a part of a job; None where it was not measured yet."""
    path = _path(folder, part)
    if not path.exists():
        return None
    return files.record(cls, files.read_json(path, REMEDY), str(path))


def write(folder: pathlib.Path, part: str, measured: Tested | Compared) -> None:
    """Keeps a part of a job."""
    files.write_json(_path(folder, part), dataclasses.asdict(measured))


def _path(folder: pathlib.Path, part: str) -> pathlib.Path:
    return folder / "measured" / f"{part}.json"
