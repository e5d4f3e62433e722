"""What a job has measured so far: a file per part, kept until results.json is made.

    measured/<program>.json     the tested prompts of a program
    measured/sources.json       what stage 1's prompts are to each other
    measured/ceiling-<task>-seed<n>.json    all weights tuned for a target

A part that is there is not measured again, so an interrupted job loses at most one.
A file holds the digests of the prompts that were measured, and one of itself: a part
that was changed, or is of other prompts, is said and measured again.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import Record
from dtvg_jax.report.records import (
    Ceiling,
    ResultRow,
    SimilarityMatrix,
    SingleSource,
)
from dtvg_jax.training import hosts

AGAIN = "what it held is measured again"
SOURCES = "sources"


@dataclasses.dataclass(frozen=True)
class Tested:
    """The tested prompts of a program, none before the tests; seconds of its parts.

    `lane_step` is as in `validation.Validated`.
    """

    rows: Sequence[ResultRow]
    seconds: Mapping[str, float]
    lane_step: float | None = None


@dataclasses.dataclass(frozen=True)
class Compared:
    """Sources tried on targets, and similarities by seed."""

    single_source: Sequence[SingleSource]
    similarity: Mapping[str, SimilarityMatrix]
    seconds: Mapping[str, float]


def read(
    folder: files.Path, part: str, cls: type[Record], prompts: Mapping[str, str]
) -> Record | None:
    """Reads a part of a job; None where it is to be measured, and says why.

    `prompts` are the digests, by entry, of the prompts that it must be of.
    """
    found = _content(folder, part, cls, prompts) if hosts.first() else None
    found = hosts.agree(found)
    where = str(_path(folder, part))
    return None if found is None else files.record(cls, found, where)


def _content(
    folder: files.Path, part: str, cls: type[Record], prompts: Mapping[str, str]
) -> object:
    path = _path(folder, part)
    if not path.exists():
        return None
    try:
        content = files.unseal(files.read_json(path, AGAIN), path, AGAIN)
        if content.get("part") != part or content.get("prompts") != prompts:
            raise InputError(f"{path} is of other prompts than the store's: {AGAIN}")
        files.record(cls, content.get("measured"), str(path))
        return content["measured"]
    except InputError as error:
        print(error, flush=True)
        return None


@hosts.written_once
def write(
    folder: files.Path,
    part: str,
    measured: Tested | Compared | Ceiling,
    prompts: Mapping[str, str],
) -> None:
    """Keeps a part of a job, measured of these prompts."""
    content = {
        "part": part,
        "prompts": dict(prompts),
        "measured": dataclasses.asdict(measured),
    }
    files.write_json(_path(folder, part), files.seal(content))


def _path(folder: files.Path, part: str) -> files.Path:
    return folder / "measured" / f"{part}.json"
