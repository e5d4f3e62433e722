"""The records of results.json: what a job measured, and what the report made of it.

In the report's own records `method` is the method with its variant; in a search, where
the variants of a method are settings to choose from, without.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from dtvg_jax.training.runs import Run, Trial

FORMAT = 3

Scores: TypeAlias = Mapping[str, float]
Role: TypeAlias = Literal["source", "target"]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a method costs: the numbers that a lane trains, and its seconds per step.

    `lane_step` is the time of a step divided by the lanes that share it; None where it
    was not measured.
    """

    trained: int
    lane_step: float | None


@dataclasses.dataclass(frozen=True)
class JobFacts:
    """The settings of a job that the report shows; seconds by part of the job.

    `descriptions`, `method_settings` and `costs` are by method, with its variant; in a
    search, of which the variants are one method, `method_settings` alone has these;
    `taken` names what came from other stores, by the entry of stage 1 that was not
    learned.
    """

    backbone: str
    backbone_digest: str
    prompt_length: int
    data_dir: str
    seeds: Sequence[int]
    sources: Sequence[str]
    targets: Sequence[str]
    methods: Sequence[str]
    seconds: Mapping[str, float]
    descriptions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    method_settings: Mapping[str, Mapping[str, object]] = dataclasses.field(
        default_factory=dict
    )
    taken: Mapping[str, Mapping[str, object]] = dataclasses.field(default_factory=dict)
    costs: Mapping[str, Cost] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ResultRow:
    """One tested prompt.

    `metrics` are of the test split, `validation` those of `best_step`; both hold the
    task's metrics and their "mean". `group` marks the chosen ones among `sources`,
    both None for a method without groups. `failed` says why training ended early.
    `only_answer` was given to every row, though not all have one target; `growth` is
    the norm of the prompt over that of P_init.
    """

    stage: int
    role: Role
    task: str
    method: str
    seed: int
    split: str
    examples: int | None
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
    only_answer: str | None
    growth: float
    variant: str = ""
    trial: Trial | None = None

    @property
    def run(self) -> Run:
        """The run that learned the prompt."""
        return Run(
            self.stage, self.task, self.method, self.seed, self.variant, self.trial
        )


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """One prompt of a search: `validation` scores are those of `best_step`.

    `stopped` is the step at which its setting was in the worse half, `failed` says why
    training ended early. Those `chosen` are tested and have a `ResultRow`.
    """

    task: str
    method: str
    variant: str
    trial: Trial
    seed: int
    validation: Scores
    best_step: int
    stopped: int | None
    failed: str | None
    entry: str
    prompt_digest: str
    chosen: bool

    @property
    def run(self) -> Run:
        """The run that learned the prompt."""
        return Run(2, self.task, self.method, self.seed, self.variant, self.trial)


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
class Ceiling:
    """All weights tuned for a target, tested at the step that validated best."""

    task: str
    seed: int
    trained: int  # numbers
    best_step: int
    validation: Scores
    metrics: Scores


@dataclasses.dataclass(frozen=True)
class MixtureRow:
    """The prompt that stage 1 learned on a mixture of tasks.

    `validation` has the score of each task and their "mean", of `best_step`. `failed`
    says why training ended early.
    """

    mixture: str
    seed: int
    best_step: int
    validation: Scores
    failed: str | None
    entry: str
    prompt_digest: str


@dataclasses.dataclass(frozen=True)
class SimilarityMatrix:
    """Cosines of the mean rows of task prompt vectors, [tasks, tasks]."""

    tasks: Sequence[str]
    matrix: Sequence[Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Results:
    """All that a job measured; `majority` and `similarity` are by task and by seed.

    `log_digest` is of metrics.jsonl.
    """

    job: JobFacts
    rows: Sequence[ResultRow]
    majority: Mapping[str, Scores]
    single_source: Sequence[SingleSource]
    similarity: Mapping[str, SimilarityMatrix]
    log_digest: str
    ceilings: Sequence[Ceiling] = ()
    trials: Sequence[TrialRow] = ()
    mixtures: Sequence[MixtureRow] = ()
    format: int = FORMAT


@dataclasses.dataclass(frozen=True)
class BestSource:
    """The source that validates best on a target; scores are means over `seeds`."""

    source: str
    validation: float
    score: float
    seeds: Sequence[int]


@dataclasses.dataclass(frozen=True)
class ScoreRow:
    """Test scores of a task and method over seeds, and what to compare them with.

    `scores` are those of `seeds`, in that order; where all lanes failed there are none
    and `mean` is None. `majority` is the score of the most frequent answer.
    """

    stage: int
    role: Role
    task: str
    method: str
    metric: str
    mean: float | None
    sd: float | None
    seeds: Sequence[int]
    scores: Sequence[float]
    examples: int | None
    majority: float | None
    best_source: BestSource | None


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean difference over pairs, and its 95 % interval; one pair has none."""

    pairs: int
    difference: float
    low: float | None
    high: float | None
    within_noise: bool


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A method over all targets of the last stage, and against the baseline.

    `mean` is over the means of `tasks` targets. `overall` is None, and `by_task` empty,
    for the baseline itself and where no pair of target and seed has both.
    """

    method: str
    mean: float | None
    tasks: int
    baseline: str
    overall: Difference | None = None
    by_task: Mapping[str, Difference] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SettingRow:
    """A setting that was tried, and its mean validation score over `seeds`.

    Seeds that failed are left out; where all did, `mean` is None.
    """

    task: str
    method: str
    variant: str
    trial: Trial
    mean: float | None
    seeds: Sequence[int]
    failed: Sequence[int]
    stopped: int | None
    chosen: bool


@dataclasses.dataclass(frozen=True)
class Usefulness:
    """How the groups of a target agree with its `useful` sources; None: undefined.

    `chance` is the precision of a group of all sources, or of any drawn at random.
    """

    useful: Sequence[str]
    precision: float | None
    recall: float | None
    chance: float | None


@dataclasses.dataclass(frozen=True)
class GroupShare:
    """The share of logged steps at which each source was in a target's group.

    `usefulness` is None where it is not known which sources are useful.
    """

    task: str
    method: str
    sources: Sequence[str]
    share: Sequence[float]
    seeds: Sequence[int]
    usefulness: Usefulness | None


@dataclasses.dataclass(frozen=True)
class Failure:
    """A planned lane that failed or has no result."""

    stage: int
    task: str
    method: str
    seed: int
    reason: str


class Sign(enum.StrEnum):
    """Signs that a lane did not learn."""

    NOT_FINITE = "numbers are not finite"
    LOSS_STAYS = "the loss does not fall"
    NORM_EXPLODES = "the prompt explodes"
    ONE_ANSWER = "one answer to everything"


@dataclasses.dataclass(frozen=True)
class Problem:
    """A sign that a lane did not learn, and the numbers or the answer that show it."""

    stage: int
    task: str
    method: str
    seed: int
    sign: Sign
    seen: str


@dataclasses.dataclass(frozen=True)
class Summary:
    """What the report makes of a job's results and log."""

    table: Sequence[ScoreRow]
    comparisons: Sequence[Comparison]
    groups: Sequence[GroupShare]
    failed: Sequence[Failure]
    problems: Sequence[Problem]
    settings: Sequence[SettingRow] = ()


class Plot(NamedTuple):
    """A file in plots/, and what it shows."""

    file: str
    shows: str


class Report(NamedTuple):
    """A job's report: all that results.md is made of.

    name: of the job's folder
    results: what was measured: a row per tested prompt, with its scores by metric
    summary: tables, comparisons with a baseline, groups, failures
    plots: files in plots/
    """

    name: str
    results: Results
    summary: Summary
    plots: Sequence[Plot]
