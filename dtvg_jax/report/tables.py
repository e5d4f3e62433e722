"""The tables of the report, as text cells, and what their columns mean."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dtvg_jax.report.records import (
    Ceiling,
    Cost,
    GroupShare,
    Report,
    ScoreRow,
    SettingRow,
)
from dtvg_jax.report.statistics import spread
from dtvg_jax.report.summary import last_stage
from dtvg_jax.report.verdicts import verdict


class Table(NamedTuple):
    """A table; `columns` maps each header to its explanation, "" for none."""

    columns: Mapping[str, str]
    rows: Sequence[Sequence[str]]


_SCORES = {
    "metric": "the task's primary metric, of at most 100; the others are in "
    "`results.json`.",
    "mean": "mean over seeds of the test score, at the step with the best validation "
    "score.",
    "sd": "sample standard deviation of the same over seeds; one seed has none.",
    "seeds": "number of prompts in the mean; failed ones are left out.",
    "test examples": "number of examples on which each prompt was tested.",
    "majority": "the score of giving the most frequent answer to every example.",
}

_PROBLEMS = {
    "problems": "how many of the seeds' prompts show a sign that nothing was learned; "
    'see the section "Problems".'
}

_METHODS = {
    "method": "how the targets were tuned in stage 2, see above.",
    "mean of targets": 'mean over targets of the column "mean".',
    "targets": "number of targets in that mean.",
    "difference": "mean over pairs (same target, same seed) of the method's score "
    "minus that of the baseline, which is prompt tuning unless the report was made "
    "with `--baseline`. For a single target, *noise* means that its 95 % interval "
    "contains 0; otherwise it is *better* or *worse*. Where methods do not differ, one "
    "in twenty is called so by chance.",
    "95 % interval": "where the difference may lie, by the paired t interval (n - 1 "
    "degrees of freedom). Pairs of one target or one seed are not quite independent, "
    "so the interval is a measure of noise, not a proof.",
    "pairs": "number of pairs in the difference.",
    "trained": "how many numbers are trained for a target and seed.",
    "ms per step": "milliseconds of a training step, divided by the prompts that are "
    "trained in it together; methods that differ in settings only share a step.",
}

_TARGET = {"target": "the task that was tuned and tested."}

_TARGETS = {
    **_TARGET,
    "method": _METHODS["method"],
    **_SCORES,
    "best single source": "the source whose own prompt, used on the target without any "
    "training on it, has the highest validation score (mean over seeds), and its test "
    "score.",
    "difference": _METHODS["difference"],
}

_SOURCES = {"source": "the task whose prompt was learned in stage 1.", **_SCORES}

_MIXTURE = {
    "mixture": "the tasks on whose rows, mixed, one prompt was learned in stage 1.",
    "task": "each of them, and their mean.",
    "validation": "mean over seeds of the score on the task's validation split, at the "
    "step with the best mean of tasks; failed prompts are left out.",
    "sd": _SCORES["sd"],
    "seeds": _SCORES["seeds"],
    "own prompt": "the same of the prompt that stage 1 learned on the task alone.",
}

_USEFUL = {
    **_TARGET,
    "method": _METHODS["method"],
    "useful": "the job's sources that need, in full or in part, a skill that the "
    "target needs too. They are known because the data are generated "
    "(`tasks/miniature/useful.py`).",
    "chosen": "the sources in the group at half of the logged steps or more.",
    "precision": "share of the chosen sources that are useful, in %; mean over logged "
    "steps with a group, then over seeds.",
    "by chance": "the precision of a group drawn at random, or of all sources.",
    "recall": "share of the useful sources that are chosen, in %; mean over logged "
    "steps, then over seeds.",
}


def target_table(report: Report) -> Table:
    """Lays out the scores of targets, one line per target and method."""
    summary, rows = report.summary, []
    last = last_stage(summary.table)
    by_task = {one.method: one.by_task for one in summary.comparisons}
    shown = [row for row in summary.table if row.role == "target"]
    for row in shown:
        method, found = row.method, None
        if row.stage == last:
            found = by_task[method].get(row.task)
        else:
            method = f"{method} (stage {row.stage})"
        best = row.best_source
        single = f"{best.source} {number(best.score)}" if best else "-"
        difference = f"{found.difference:+.2f} {verdict(found)}" if found else "-"
        rows.append([row.task, method, *_scores(row), single, difference])
    return _with_problems(report, Table(_TARGETS, rows), shown)


def ceiling_table(report: Report) -> Table:
    """Lays out the scores of targets for which all weights were tuned."""
    metric_of = {row.task: row.metric for row in report.summary.table}
    by_task: dict[str, list[Ceiling]] = {}
    for one in report.results.ceilings:
        by_task.setdefault(one.task, []).append(one)
    rows = []
    for task, found in by_task.items():
        metric = metric_of[task]
        mean, sd = spread([one.metrics[metric] for one in found])
        trained = str(found[0].trained)
        rows.append([task, metric, number(mean), number(sd), str(len(found)), trained])
    names = ("metric", "mean", "sd", "seeds")
    columns = {name: _SCORES[name] for name in names}
    return Table({**_TARGET, **columns, "trained": _METHODS["trained"]}, rows)


def search_table(settings: Sequence[SettingRow]) -> Table:
    """Lays out the validation scores of a search, a column for each setting."""
    names = list(dict.fromkeys(map(_setting, settings)))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for one in settings:
        of_target = cells.setdefault((one.task, one.method), {})
        of_target[_setting(one)] = _tried(one)
    rows = [
        [*key, *(shown.get(name, "-") for name in names)]
        for key, shown in cells.items()
    ]
    columns = {**_TARGET, "method": _METHODS["method"], **dict.fromkeys(names, "")}
    return Table(columns, rows)


def _setting(one: SettingRow) -> str:
    warmup = "" if one.trial.warmup is None else f"warm-up {one.trial.warmup}"
    parts = (one.variant, f"rate {one.trial.rate:g}", warmup)
    return ", ".join(part for part in parts if part)


def _tried(one: SettingRow) -> str:
    parts = [
        number(one.mean) + ("*" if one.chosen else ""),
        f"to {one.stopped}" if one.stopped is not None else "",
        f"{len(one.failed)} failed" if one.failed else "",
    ]
    return " ".join(part for part in parts if part)


def source_table(report: Report) -> Table:
    """Lays out the scores of sources."""
    table = [row for row in report.summary.table if row.role == "source"]
    rows = [[row.task, *_scores(row)] for row in table]
    return _with_problems(report, Table(_SOURCES, rows), table)


def mixture_table(report: Report) -> Table:
    """Lays out how prompts of mixtures validate, beside the tasks' own prompts."""
    own: dict[str, list[float]] = {}
    for row in report.results.rows:
        if row.stage == 1 and not row.failed:
            own.setdefault(row.task, []).append(row.validation["mean"])
    learned = [row for row in report.results.mixtures if not row.failed]
    rows = []
    for task in learned[0].validation if learned else ():
        mean, sd = spread([row.validation[task] for row in learned])
        alone = spread(own[task]).mean if task in own else None
        shown = [number(mean), number(sd), str(len(learned)), number(alone)]
        rows.append([learned[0].mixture, task, *shown])
    return Table(_MIXTURE, rows)


def method_table(report: Report) -> Table:
    """Lays out the comparison with the baseline, one line per method."""
    rows = []
    for one in report.summary.comparisons:
        difference, interval = "-", "-"
        pairs = "-" if one.method == one.baseline else "0"
        if one.overall:
            found = one.overall
            difference, pairs = f"{found.difference:+.2f}", str(found.pairs)
            if found.low is not None:
                interval = f"{found.low:+.2f} to {found.high:+.2f}"
        mean, tasks = number(one.mean), str(one.tasks)
        cost = report.results.job.costs.get(one.method)
        rows.append(
            [one.method, mean, tasks, difference, interval, pairs, *_cost(cost)]
        )
    return Table(_METHODS, rows)


def group_table(groups: Sequence[GroupShare]) -> Table:
    """Lays out how often each source was in the group of each target."""
    sources = list(dict.fromkeys(name for one in groups for name in one.sources))
    rows = []
    for one in groups:
        share = dict(zip(one.sources, one.share, strict=True))
        shown = [f"{100 * share[s]:.0f}" if s in share else "-" for s in sources]
        rows.append([one.task, one.method, *shown])
    names = dict.fromkeys(["target", "method", *sources], "")
    return Table(names, rows)


def useful_table(groups: Sequence[GroupShare]) -> Table:
    """Lays out the chosen sources beside the useful ones, where these are known."""
    rows = []
    for one in groups:
        if one.usefulness is None:
            continue
        found, share = one.usefulness, zip(one.sources, one.share, strict=True)
        chosen = [source for source, value in share if value >= 0.5]
        named = [", ".join(names) or "none" for names in (found.useful, chosen)]
        values = (found.precision, found.chance, found.recall)
        shown = ["-" if x is None else f"{100 * x:.0f}" for x in values]
        rows.append([one.task, one.method, *named, *shown])
    return Table(_USEFUL, rows)


def number(value: float | int | None) -> str:
    """Formats a score with two decimals, or a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def numeric_columns(table: Table) -> list[bool]:
    """Tells which columns hold numbers only, and are aligned to the right."""
    return [
        all(cell == "-" or cell.lstrip("+-")[:1].isdigit() for cell in column)
        for column in zip(*table.rows, strict=True)
    ]


def _cost(cost: Cost | None) -> list[str]:
    trained = "-" if cost is None else str(cost.trained)
    seconds = None if cost is None else cost.lane_step
    return [trained, number(None if seconds is None else 1000 * seconds)]


def _with_problems(report: Report, table: Table, shown: Sequence[ScoreRow]) -> Table:
    """Adds a column of the problems of each row, where any row has some."""
    cells = []
    for row in shown:
        seeds: dict[str, set[int]] = {}
        for one in report.summary.problems:
            if (one.stage, one.task, one.method) == (row.stage, row.task, row.method):
                seeds.setdefault(one.sign, set()).add(one.seed)
        signs = [f"{sign} ({len(found)})" for sign, found in seeds.items()]
        cells.append(", ".join(signs) or "-")
    if all(cell == "-" for cell in cells):
        return table
    rows = [[*row, cell] for row, cell in zip(table.rows, cells, strict=True)]
    return Table({**table.columns, **_PROBLEMS}, rows)


def _scores(row: ScoreRow) -> list[str]:
    return [
        row.metric,
        number(row.mean),
        number(row.sd),
        str(len(row.seeds)),
        "-" if row.examples is None else str(row.examples),
        number(row.majority),
    ]
