"""Success criteria and tables, as pure functions of the scores by seed."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dtvg_jax.report import statistics

# scores[task][column]: one value per seed, in %; without columns that a task lacks.
Scores = Mapping[str, Mapping[str, Sequence[float]]]

PERFECT = 100.0  # of a reader who knows the rules of the world, in every metric
EVERY_TASK = {
    "majority": "majority class",
    "untrained": "P_init, decoded",
    "untrained_ranked": "P_init, over labels",
    "tuned": "prompt tuning",
    "full": "full fine-tuning",
}
TARGETS_ONLY = {
    "tuned": "prompt tuning",
    "tuned_x10": "x 10",
    "full": "full fine-tuning",
    "full_x10": "x 10",
    "related_untuned": "related source, untuned",
    "related_tuned": "tuned",
    "unrelated_untuned": "unrelated source, untuned",
    "unrelated_tuned": "tuned",
}


class Criterion(NamedTuple):
    """A success criterion, whether it is met, and the numbers that decide it."""

    name: str
    met: bool
    figure: str


def judge(
    scores: Scores,
    chance: Mapping[str, float],
    sources: Sequence[str],
    targets: Sequence[str],
) -> list[Criterion]:
    """Checks all criteria; `chance` has only the tasks with fixed labels."""
    return [
        skills_learnt(scores, sources),
        untrained_at_chance(scores, chance),
        gap_closed(scores, sources),
        more_data_helps(scores, targets),
        related_helps_more(scores, targets),
    ]


def skills_learnt(scores: Scores, sources: Sequence[str]) -> Criterion:
    """(a) Full fine-tuning reaches 0.9 of a perfect reader on every source."""
    reached = {task: _mean(scores, task, "full") / PERFECT for task in sources}
    return Criterion(
        "(a) full fine-tuning reaches 0.9 of a perfect reader on every source",
        all(share >= 0.9 for share in reached.values()),
        _list(reached, ".2f"),
    )


def untrained_at_chance(scores: Scores, chance: Mapping[str, float]) -> Criterion:
    """(b) P_init is within 5 points of chance or majority on all but two tasks."""
    away = {
        task: min(
            abs(_mean(scores, task, "untrained_ranked") - base)
            for base in (guess, _mean(scores, task, "majority"))
        )
        for task, guess in chance.items()
    }
    far = {task: points for task, points in away.items() if points > 5}
    return Criterion(
        "(b) P_init over the labels is within 5 points of chance or majority on all "
        "but two tasks",
        len(far) <= 2,
        f"{len(far)} of {len(away)} tasks are further away"
        + (f", by points: {_list(far, '.1f')}" if far else ""),
    )


def gap_closed(scores: Scores, sources: Sequence[str]) -> Criterion:
    """(c) Prompt tuning closes 80 % of the gap to full tuning on 5/6 of the sources."""
    shares = {}
    for task in sources:
        low, high = (_mean(scores, task, c) for c in ("majority", "full"))
        gap = high - low
        shares[task] = (_mean(scores, task, "tuned") - low) / gap if gap > 0 else 0.0
    closed = sum(share >= 0.8 for share in shares.values())
    needed = math.ceil(len(sources) * 5 / 6)
    return Criterion(
        "(c) prompt tuning closes 0.8 of the gap from majority to full fine-tuning on "
        f"{needed} of {len(sources)} sources",
        closed >= needed,
        f"{closed} sources: {_list(shares, '.2f')}",
    )


def more_data_helps(scores: Scores, targets: Sequence[str]) -> Criterion:
    """(d) Ten times the data give prompt tuning 5 points on average."""
    gains = {
        task: _mean(scores, task, "tuned_x10") - _mean(scores, task, "tuned")
        for task in targets
    }
    mean = math.fsum(gains.values()) / len(gains)
    return Criterion(
        "(d) with ten times the data prompt tuning gains 5 points on average",
        mean >= 5,
        f"{mean:+.1f} points: {_list(gains, '+.1f')}",
    )


def related_helps_more(scores: Scores, targets: Sequence[str]) -> Criterion:
    """(e) Tuned from a related source is better than from an unrelated one.

    It must be better on more than half of the targets, and over all targets: the
    interval of the seeds' means over targets must lie above 0.
    """
    differences = {task: paired(scores, task) for task in targets}
    means = [
        math.fsum(seed) / len(targets)
        for seed in zip(*differences.values(), strict=True)
    ]
    each = {t: statistics.paired_interval(d) for t, d in differences.items()}
    overall = statistics.paired_interval(means)
    better = sum(interval.mean > 0 for interval in each.values())
    sure = [t for t, i in each.items() if i.mean > 0 and not i.within_noise]
    worse = [t for t, i in each.items() if i.mean < 0 and not i.within_noise]
    return Criterion(
        "(e) a related source helps more than an unrelated one on most targets",
        better > len(targets) / 2 and overall.mean > 0 and not overall.within_noise,
        f"better on {better} of {len(targets)}, beyond the noise on "
        f"{', '.join(sure) or 'none'}; worse beyond the noise on "
        f"{', '.join(worse) or 'none'}; over all {_interval(overall)}",
    )


def paired(scores: Scores, task: str) -> list[float]:
    """Subtracts the unrelated start from the related one, both tuned, seed by seed."""
    found = scores[task]
    pairs = zip(found["related_tuned"], found["unrelated_tuned"], strict=True)
    return [related - unrelated for related, unrelated in pairs]


def every_task_table(scores: Scores, tasks: Sequence[str]) -> str:
    """Formats the scores without sources: Markdown, means (sd) over seeds."""
    rows = [
        [task, *(_cell(scores[task].get(column)) for column in EVERY_TASK)]
        for task in tasks
    ]
    return _markdown(["task", *EVERY_TASK.values()], rows)


def targets_table(
    scores: Scores, related: Mapping[str, str], unrelated: Mapping[str, str]
) -> str:
    """Formats the scores of targets with more data or a source, and their means."""
    rows = []
    for task in related:
        interval = statistics.paired_interval(paired(scores, task))
        cells = [_cell(scores[task][column]) for column in TARGETS_ONLY]
        names = f"{related[task]}, {unrelated[task]}"
        rows.append([task, *cells, names, _interval(interval)])
    means = [
        math.fsum(_mean(scores, task, column) for task in related) / len(related)
        for column in TARGETS_ONLY
    ]
    rows.append(["**mean**", *(f"{mean:.1f}" for mean in means), "", ""])
    head = ["target", *TARGETS_ONLY.values(), "sources", "related - unrelated, tuned"]
    return _markdown(head, rows)


def criteria_text(judged: Sequence[Criterion]) -> str:
    """Formats a line per criterion: met or missed, and its numbers."""
    return "\n".join(
        f"- {one.name}: **{'met' if one.met else 'missed'}** ({one.figure})"
        for one in judged
    )


def _mean(scores: Scores, task: str, column: str) -> float:
    return statistics.spread(scores[task][column]).mean


def _list(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())


def _cell(values: Sequence[float] | None) -> str:
    if values is None:
        return ""
    mean, sd = statistics.spread(values)
    return f"{mean:.1f}" if not sd else f"{mean:.1f} ({sd:.1f})"


def _interval(interval: statistics.Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.mean:+.1f}"
    return f"{interval.mean:+.1f} ({interval.low:+.1f} to {interval.high:+.1f})"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
