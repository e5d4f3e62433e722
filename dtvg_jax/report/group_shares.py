"""Measures which sources were in the groups, and whether those can help."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from dtvg_jax.data import catalogue
from dtvg_jax.data.prepared import MINIATURE
from dtvg_jax.report.records import GroupShare, JobFacts, Usefulness
from dtvg_jax.report.statistics import spread
from dtvg_jax.training.metrics_log import TrainRecord

# The groups of a lane, [step][S]: 1 for a source in the group, else 0.
Groups: TypeAlias = Sequence[Sequence[int]]


def group_shares(job: JobFacts, records: Iterable[TrainRecord]) -> list[GroupShare]:
    """Measures, per target and method, how often each source was in the group.

    The share is of the logged steps of a lane, then averaged over seeds. On generated
    data the useful sources are known, and the groups are compared with them.
    """
    known: Mapping[str, Sequence[str]] = {}
    if job.data_dir == MINIATURE:
        known = catalogue.module("miniature.useful").USEFUL
    lanes: dict[tuple[str, str], dict[int, list[TrainRecord]]] = {}
    for record in records:
        if record.group is not None:
            seeds = lanes.setdefault((record.task, record.run.shown_method), {})
            seeds.setdefault(record.seed, []).append(record)
    return [
        _group_share(task, method, seeds, known)
        for (task, method), seeds in lanes.items()
    ]


def _group_share(
    task: str,
    method: str,
    records: Mapping[int, Sequence[TrainRecord]],
    known: Mapping[str, Sequence[str]],
) -> GroupShare:
    seeds = sorted(records)
    # All lanes of a target have the same sources, in the same order.
    listed = records[seeds[0]][0].sources or ()
    # A target that is also a source is never in its own group.
    others = [i for i, source in enumerate(listed) if source != task]
    sources = [listed[i] for i in others]
    chosen = [
        [
            [step.group[i] for i in others]
            for step in records[seed]
            if step.group is not None
        ]
        for seed in seeds
    ]
    return GroupShare(
        task=task,
        method=method,
        sources=sources,
        share=shares(chosen),
        seeds=seeds,
        usefulness=usefulness(sources, chosen, known[task]) if task in known else None,
    )


def shares(lanes: Sequence[Groups]) -> list[float]:
    """Takes each source's share of steps, mean over lanes."""
    per_lane = [
        [spread(column).mean for column in zip(*steps, strict=True)] for steps in lanes
    ]
    return [spread(column).mean for column in zip(*per_lane, strict=True)]


def usefulness(
    sources: Sequence[str], lanes: Sequence[Groups], known: Sequence[str]
) -> Usefulness:
    """Compares the groups of a target with its useful sources, `known`."""
    useful = [source in known for source in sources]
    measured = [precision_and_recall(steps, useful) for steps in lanes]
    precision, recall = (
        _mean([value for value in values if value is not None])
        for values in zip(*measured, strict=True)
    )
    return Usefulness(
        useful=[name for name, is_ in zip(sources, useful, strict=True) if is_],
        precision=precision,
        recall=recall,
        chance=_mean(useful),
    )


def precision_and_recall(
    groups: Groups, useful: Sequence[bool]
) -> tuple[float | None, float | None]:
    """Takes precision and recall of the groups of one lane, mean over steps.

    An empty group has recall 0 and no precision. Without a useful source there is no
    recall.
    """
    precisions, recalls = [], []
    for group in groups:
        right = sum(chosen and is_ for chosen, is_ in zip(group, useful, strict=True))
        if any(group):
            precisions.append(right / sum(group))
        if any(useful):
            recalls.append(right / sum(useful))
    return _mean(precisions), _mean(recalls)


def _mean(values: Sequence[float | int]) -> float | None:
    return spread(values).mean if values else None
