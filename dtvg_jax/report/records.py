"""The records of results.json: what a job measured, and what the report made of it."""

import dataclasses
from collections.abc import Mapping, Sequence

FORMAT = 2

Scores = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class JobFacts:
    """The settings of a job that the report shows; seconds by part of the job."""

    backbone: str
    backbone_digest: str
    prompt_length: int
    data_dir: str
    seeds: Sequence[int]
    sources: Sequence[str]
    targets: Sequence[str]
    methods: Sequence[str]
    seconds: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class ResultRow:
    """One tested prompt.

    `metrics` are of the test split, `validation` those of `best_step`; both hold the
    task's metrics and their "mean". `group` marks the chosen ones among `sources`,
    both None for a method without groups. `failed` says why training ended early.
    """

    stage: int
    role: str  # "source" or "target"
    task: str
    method: str
    seed: int
    split: str
    examples: int
    split_digest: str
    primary_metric: str
    metrics: Scores
    validation: Scores
    best_step: int
    sources: Sequence[str] | None
    group: Sequence[int] | None
    entry: str
    prompt_digest: str
    failed: str | None
    predictions: str
    variant: str = ""


@dataclasses.dataclass(frozen=True)
class SingleSource:
    """How a source's own prompt does on a target that it was not trained on."""

    task: str
    source: str
    seed: int
    examples: int
    validation: Scores
    metrics: Scores


@dataclasses.dataclass(frozen=True)
class SimilarityMatrix:
    """Cosines of the mean rows of task prompt vectors, [tasks, tasks]."""

    tasks: Sequence[str]
    matrix: Sequence[Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Results:
    """All that a job measured; `majority` and `similarity` are by task and by seed."""

    job: JobFacts
    rows: Sequence[ResultRow]
    majority: Mapping[str, Scores]
    single_source: Sequence[SingleSource]
    similarity: Mapping[str, SimilarityMatrix]
    format: int = FORMAT
