"""Computes the numbers of the report from the rows of results.json.

A row is one tested prompt: a lane of stage 1 or 2. The numbers go back into
results.json, so that all that is shown can be read there.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dtvg_jax.report import health
from dtvg_jax.report.group_shares import group_shares
from dtvg_jax.report.records import (
    BestSource,
    Comparison,
    Difference,
    Failure,
    JobFacts,
    ResultRow,
    Results,
    Role,
    ScoreRow,
    SettingRow,
    SingleSource,
    Summary,
    TrialRow,
)
from dtvg_jax.report.statistics import paired_interval, spread
from dtvg_jax.store import entries
from dtvg_jax.training.metrics_log import LogRecord, TrainRecord
from dtvg_jax.training.runs import Run
from dtvg_jax.training.trials import Setting, setting_of

BASELINE = "prompt_tuning"


class Cell(NamedTuple):
    """What the rows of a task and method share over all seeds."""

    stage: int
    role: Role
    task: str
    method: str  # as `Run.shown_method`


def summarise(
    results: Results, records: Iterable[LogRecord], baseline: str = BASELINE
) -> Summary:
    """Makes the tables of a job from its results and its log.

    `baseline` is the method that the others are compared with.
    """
    table, records = score_table(results), list(records)
    steps = [record for record in records if isinstance(record, TrainRecord)]
    return Summary(
        table=table,
        comparisons=comparisons(results.rows, table, baseline),
        groups=group_shares(results.job, steps),
        failed=failures(results),
        problems=health.problems(results.rows, records),
        settings=settings(results.trials),
    )


def score_table(results: Results) -> list[ScoreRow]:
    """Lists, per stage, task and method: mean, sd, and what to compare them with.

    Sources come first, then targets, each in the order of the job. Failed lanes are not
    in the means.
    """
    return [_score_row(results, cell) for cell in _in_order(results)]


def _score_row(results: Results, cell: Cell) -> ScoreRow:
    rows = [row for row in results.rows if _cell(row) == cell]
    tested = sorted(_tested(rows), key=lambda row: row.seed)
    # Where all lanes failed, a failed one still names metric and examples.
    example = (tested or rows)[0]
    metric = example.primary_metric
    scores = [_score(row) for row in tested]
    mean, sd = spread(scores) if scores else (None, None)
    return ScoreRow(
        stage=cell.stage,
        role=cell.role,
        task=cell.task,
        method=cell.method,
        metric=metric,
        mean=mean,
        sd=sd,
        seeds=[row.seed for row in tested],
        scores=scores,
        examples=example.examples,
        majority=results.majority.get(cell.task, {}).get(metric),
        best_source=(
            best_source(results.single_source, cell.task, metric)
            if cell.role == "target"
            else None
        ),
    )


def best_source(
    singles: Iterable[SingleSource], task: str, metric: str
) -> BestSource | None:
    """Finds the source whose untuned prompt validates best on a task.

    Validation is `mean` of the task's metrics, averaged over seeds; ties go to the
    source that comes first. The test score plays no part in the choice.
    """
    by_source: dict[str, list[SingleSource]] = {}
    for single in singles:
        if single.task == task:
            by_source.setdefault(single.source, []).append(single)
    candidates = [
        BestSource(
            source=source,
            validation=spread([one.validation["mean"] for one in found]).mean,
            score=spread([one.metrics[metric] for one in found]).mean,
            seeds=sorted(one.seed for one in found),
        )
        for source, found in by_source.items()
    ]
    return max(candidates, key=lambda one: one.validation, default=None)


def comparisons(
    rows: Sequence[ResultRow], table: Sequence[ScoreRow], baseline: str = BASELINE
) -> list[Comparison]:
    """Compares each method with the baseline, over the (task, seed) pairs of both."""
    stage = last_stage(table)
    last = [row for row in table if row.role == "target" and row.stage == stage]
    compared = []
    for method in dict.fromkeys(row.method for row in last):
        means = [
            row.mean for row in last if row.method == method and row.mean is not None
        ]
        pairs = _paired(_tested(rows), (method, baseline), stage)
        every = [value for values in pairs.values() for value in values]
        compared.append(
            Comparison(
                method=method,
                mean=spread(means).mean if means else None,
                tasks=len(means),
                baseline=baseline,
                overall=_difference(every) if every else None,
                by_task={task: _difference(values) for task, values in pairs.items()},
            )
        )
    return compared


def _paired(
    rows: Sequence[ResultRow], methods: tuple[str, str], stage: int | None
) -> dict[str, list[float]]:
    """Lists by target a method's scores minus another's with the same seed.

    Of a method and itself there are none.
    """
    if methods[0] == methods[1]:
        return {}
    ours, base = (
        {
            (row.task, row.seed): _score(row)
            for row in rows
            if (row.stage, row.role, row.run.shown_method) == (stage, "target", name)
        }
        for name in methods
    )
    # Pairs share P_init and data order, so that only the method differs.
    by_task: dict[str, list[float]] = {}
    for task, seed in ours:
        if (task, seed) in base:
            by_task.setdefault(task, []).append(ours[task, seed] - base[task, seed])
    return by_task


def _difference(differences: Sequence[float]) -> Difference:
    found = paired_interval(differences)
    return Difference(
        found.pairs, found.mean, found.low, found.high, found.within_noise
    )


def settings(trials: Iterable[TrialRow]) -> list[SettingRow]:
    """Groups the trials of a search by setting, in their order."""
    seeds: dict[Setting, list[TrialRow]] = {}
    for one in trials:
        seeds.setdefault(setting_of(one.run), []).append(one)
    return [_setting_row(rows) for rows in seeds.values()]


def _setting_row(rows: Sequence[TrialRow]) -> SettingRow:
    ended = [row for row in rows if not row.failed]
    scores = [row.validation["mean"] for row in ended]
    one = rows[0]
    return SettingRow(
        task=one.task,
        method=one.method,
        variant=one.variant,
        trial=one.trial,
        mean=spread(scores).mean if scores else None,
        seeds=[row.seed for row in ended],
        failed=[row.seed for row in rows if row.failed],
        stopped=one.stopped,
        chosen=one.chosen,
    )


def failures(results: Results) -> list[Failure]:
    """Lists lanes that failed, and lanes of the job's plan that have no result."""
    failed = [
        Failure(row.stage, row.task, row.run.shown_method, row.seed, row.failed)
        for row in results.rows
        if row.failed
    ]
    failed += [
        Failure(1, row.mixture, BASELINE, row.seed, row.failed)
        for row in results.mixtures
        if row.failed
    ]
    present = {(_cell(row), row.seed) for row in results.rows}
    missing = [
        Failure(cell.stage, cell.task, cell.method, seed, "no result")
        for cell in _planned(results)
        for seed in results.job.seeds
        if (cell, seed) not in present and not _taken(results, cell, seed)
    ]
    return failed + missing


def _taken(results: Results, cell: Cell, seed: int) -> bool:
    """Tells whether a prompt of stage 1 came from another store: it is not tested."""
    run = Run(cell.stage, cell.task, cell.method, seed)
    return cell.stage == 1 and str(entries.name_of(run)) in results.job.taken


def last_stage(rows: Iterable[ResultRow | ScoreRow]) -> int | None:
    """Finds the stage whose target prompts are compared: 2, or 1 without transfer."""
    return max((row.stage for row in rows if row.role == "target"), default=None)


def _planned(results: Results) -> list[Cell]:
    job, stage = results.job, last_stage(results.rows)
    sources = [Cell(1, "source", task, BASELINE) for task in job.sources]
    if stage is None:
        return sources
    return sources + [
        Cell(stage, "target", task, method)
        for task in job.targets
        for method in job.methods
    ]


def _tested(rows: Iterable[ResultRow]) -> list[ResultRow]:
    return [row for row in rows if not row.failed]


def _score(row: ResultRow) -> float:
    return row.metrics[row.primary_metric]


def _cell(row: ResultRow) -> Cell:
    return Cell(row.stage, row.role, row.task, row.run.shown_method)


def task_order(job: JobFacts) -> list[str]:
    """Lists the tasks of a job as tables and plots show them: sources, then targets."""
    return list(dict.fromkeys([*job.sources, *job.targets]))


def _in_order(results: Results) -> list[Cell]:
    """Sorts the cells: sources, then targets; tasks and methods in the job's order."""
    tasks, methods = task_order(results.job), list(results.job.methods)

    def rank(cell: Cell) -> tuple[bool, int, int, int]:
        return (
            cell.role == "target",
            _index(tasks, cell.task),
            cell.stage,
            _index(methods, cell.method),
        )

    return sorted(dict.fromkeys(map(_cell, results.rows)), key=rank)


def _index(known: Sequence[str], name: str) -> int:
    return known.index(name) if name in known else len(known)
