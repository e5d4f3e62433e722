"""The log of a job: metrics.jsonl, and the same numbers for TensorBoard.

A line is one JSON object: `kind` (a `Kind`), `program`, `lane`, `stage`, `task`,
`method`, `seed`, `step`, and what was measured. The file only grows, except on resume,
when it is truncated to the position that the checkpoint holds. metrics.seal.json says
what it held at the last checkpoint, so that a changed log is noticed.
"""

import dataclasses
import enum
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import jax
import numpy as np
from tensorboardX.event_file_writer import EventsWriter

from dtvg_jax import files
from dtvg_jax.errors import InputError, shown, unknown
from dtvg_jax.files import JsonObject
from dtvg_jax.files.copies import WorkingCopy
from dtvg_jax.training import events, hosts, runs
from dtvg_jax.training.runs import Run, Trial

FILE, SEAL_FILE = "metrics.jsonl", "metrics.seal.json"
REMEDY = "restore it, or give another folder"
LIMIT = 2**34  # bytes
CURVES = ("loss", "grad_norm", "target_similarity", "knowledge_consistency")


class Kind(enum.StrEnum):
    """What a line of the log is about: a step, or a validation."""

    TRAIN = "train"
    VALIDATION = "validation"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaneRecord:
    """What every line says: the lane and its step."""

    program: str
    lane: str
    stage: int
    task: str
    method: str
    seed: int
    step: int
    variant: str = ""
    trial: Trial | None = None

    @property
    def run(self) -> Run:
        """The run that the lane trains."""
        return Run(
            self.stage, self.task, self.method, self.seed, self.variant, self.trial
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRecord(LaneRecord):
    """A training step; numbers that were not finite are None.

    `sources`, and `similarity` and `group` (0 or 1) of each of them, are logged by
    methods that group.
    """

    loss: float | None = None
    grad_norm: float | None = None
    sources: Sequence[str] | None = None
    similarity: Sequence[float | None] | None = None
    group: Sequence[int] | None = None
    target_similarity: float | None = None
    knowledge_consistency: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationRecord(LaneRecord):
    """The scores of a validation, and whether they are the lane's best so far.

    `sources`, and `group` (0 or 1) of each of them, are logged by methods that group.
    """

    metrics: Mapping[str, float | None]
    best: bool
    sources: Sequence[str] | None = None
    group: Sequence[int] | None = None


LogRecord: TypeAlias = TrainRecord | ValidationRecord


@dataclasses.dataclass(frozen=True)
class Seal:
    """The length of the log when it was last put onto the disk, and its digest."""

    bytes: int
    digest: str


class MetricsLog:
    """Appends records to `job_dir/metrics.jsonl` and `job_dir/tensorboard/<program>`.

    A last line torn by a kill is dropped when the log is opened. To resume, call
    `truncate` with the position of the checkpoint before the first `write`. Raises
    InputError where the log is not what was logged up to the last checkpoint.
    """

    def __init__(self, job_dir: str | os.PathLike[str]):
        self._folder = files.expand(job_dir)
        self._copy = WorkingCopy(self._folder)
        self._path = self._copy.path / FILE
        self._writers: dict[str, EventsWriter] = {}
        _check_seal(self._folder)
        self._copy.fetch(FILE)
        self._file = open(self._path, "ab")
        _truncate(self._path, _content(self._path).rfind(b"\n") + 1)

    def write(self, records: Iterable[Mapping[str, object]]) -> None:
        """Appends records; they reach the operating system before this returns."""
        for record in records:
            plain = _plain_object(record)
            line = json.dumps(plain, allow_nan=False) + "\n"
            with files.naming(self._path):
                self._file.write(line.encode())
            self._write_scalars(plain)
        with files.naming(self._path):
            self._file.flush()

    def write_curves(
        self, program: str, step: int, values: Mapping[str, float]
    ) -> None:
        """Adds points for TensorBoard alone, such as times, which no two runs share."""
        writer = self._writers.get(program) or self._open(program, step)
        for tag, value in values.items():
            events.write_scalar(writer, tag, value, step)

    def position(self) -> int:
        """Returns the length in bytes, once all of it is on the disk.

        A checkpoint that holds this number never points behind the end of the file.
        """
        for writer in self._writers.values():
            writer.flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        content = _content(self._path)
        self._copy.upload()
        _write_seal(self._folder, content)
        return len(content)

    def truncate(self, position: int) -> None:
        """Drops what was logged after `position`, in TensorBoard too.

        Raises InputError where the file is shorter than that or `position` splits a
        line: it is then not the log that the checkpoint belongs to.
        """
        self._file.flush()
        content, path = _content(self._path), self._folder / FILE
        if position > len(content):
            raise InputError(
                f"{path} has {len(content)} bytes, the checkpoint says "
                f"{position}: the file was changed; restore it or start a new job"
            )
        if position and content[position - 1 : position] != b"\n":
            raise InputError(
                f"{path}: byte {position} of the checkpoint is not the end of a "
                "line: the file was changed; restore it or start a new job"
            )
        # First the seal: it never says more than the file holds, even after a kill.
        _write_seal(self._folder, content[:position])
        _truncate(self._path, position)
        self.close_tensorboard()

    def close_tensorboard(self) -> None:
        """Closes the event files; the next record opens new ones."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def close(self) -> None:
        """Closes all files."""
        self.close_tensorboard()
        self._file.close()
        self._copy.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_scalars(self, record: JsonObject) -> None:
        points = {f"{record['lane']}/{t}": x for t, x in scalars(record).items()}
        self.write_curves(str(record["program"]), int(str(record["step"])), points)

    def _open(self, program: str, step: int) -> EventsWriter:
        name = f"tensorboard/{program}"
        folders = (self._copy.path / name, self._folder / name)
        there = {path.name for folder in folders for path in folder.glob("events*")}
        # TensorBoard forgets what an earlier process wrote at this step and later ones.
        self._writers[program] = events.open_events(folders[0], step, len(there))
        return self._writers[program]


class NoLog(MetricsLog):
    """The log of a process that leaves all of it to process 0."""

    def __init__(self) -> None:
        self._writers = {}

    def write(self, records: Iterable[Mapping[str, object]]) -> None:
        """Writes nothing."""

    def write_curves(
        self, program: str, step: int, values: Mapping[str, float]
    ) -> None:
        """Writes nothing."""

    def position(self) -> int:
        """Returns what is not saved: the position of process 0 is."""
        return 0

    def truncate(self, position: int) -> None:
        """Drops nothing."""

    def close(self) -> None:
        """Closes nothing."""


def opened(job_dir: str | os.PathLike[str]) -> MetricsLog:
    """Opens the log of a folder, which of several processes the first one writes."""
    return MetricsLog(job_dir) if hosts.first() else NoLog()


def scalars(record: Mapping[str, object]) -> dict[str, float]:
    """Lists the curves of a record by tag: `loss`, `group/mnli`, `validation/mean`."""
    flat = {name: record.get(name) for name in CURVES}
    for name in ("similarity", "group"):
        pairs = zip(_list(record, "sources"), _list(record, name), strict=False)
        flat |= {f"{name}/{source}": value for source, value in pairs}
    metrics = record.get("metrics")
    if isinstance(metrics, Mapping):
        flat |= {f"{record['kind']}/{name}": value for name, value in metrics.items()}
    return {tag: x for tag, x in flat.items() if isinstance(x, int | float)}


def _list(record: Mapping[str, object], name: str) -> Sequence[object]:
    value = record.get(name)
    return value if isinstance(value, list | tuple) else ()


def read(path: str | os.PathLike[str]) -> list[LogRecord]:
    """Reads a metrics.jsonl; a torn last line is left out.

    A job that has logged nothing has no records. Raises InputError with file and line
    where any other line is not a record of the log; keys that the records lack are
    left out, since a newer version may log more.
    """
    content = _content(files.expand(path))
    content = content[: content.rfind(b"\n") + 1]
    return [
        _record(line, f"{path}, line {number}")
        for number, line in enumerate(content.splitlines(), start=1)
    ]


def _record(line: bytes, where: str) -> LogRecord:
    content = files.parse_json(line, where)
    if not isinstance(content, dict):
        raise InputError(f"{where} is {content!r}: it must be a JSON object")
    match content.get("kind"):
        case Kind.TRAIN:
            record = files.record(TrainRecord, content, where)
        case Kind.VALIDATION:
            record = files.record(ValidationRecord, content, where)
        case kind:
            raise InputError(f"{where}: {unknown('kind', kind, list(Kind))}")
    for field in ("task", "method", "variant"):
        # Names of files are made of these, which must not lead out of a folder.
        name = getattr(record, field)
        if not runs.can_name_a_file(name) and (name or field != "variant"):
            raise InputError(f"{where}: {field} = {shown(name)} is not a name")
    return record


def digest(folder: files.Path) -> str:
    """Hashes the log in a folder; a job that has logged nothing has an empty one."""
    return hashlib.sha256(_content(folder / FILE)).hexdigest()


def _write_seal(folder: files.Path, content: bytes) -> None:
    seal = Seal(len(content), hashlib.sha256(content).hexdigest())
    files.write_json(folder / SEAL_FILE, files.seal(dataclasses.asdict(seal)))


def _check_seal(folder: files.Path) -> None:
    path, seal_path = folder / FILE, folder / SEAL_FILE
    content = _content(path)
    if not content and not seal_path.exists():
        return
    sealed = files.unseal(files.read_json(seal_path, REMEDY), seal_path, REMEDY)
    seal = files.record(Seal, sealed, str(seal_path))
    if hashlib.sha256(content[: seal.bytes]).hexdigest() != seal.digest:
        raise InputError(
            f"{path} is not what was logged, says {SEAL_FILE}: the file was changed; "
            f"{REMEDY}"
        )


def _content(path: files.Path) -> bytes:
    return files.read_bytes(path, LIMIT, REMEDY) if path.exists() else b""


def _truncate(path: pathlib.Path, length: int) -> None:
    if path.stat().st_size > length:
        os.truncate(path, length)


def _plain_object(record: Mapping[str, object]) -> JsonObject:
    return {str(key): _plain(value) for key, value in record.items()}


def _plain(value: object) -> object:
    """Makes arrays lists, and numbers that JSON lacks (NaN, infinity) None."""
    if isinstance(value, Mapping):
        return _plain_object(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
