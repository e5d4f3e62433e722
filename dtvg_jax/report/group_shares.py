"""Which sources were in the groups, and whether they are those that can help."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dtvg_jax.data import catalogue
from dtvg_jax.data.prepared import MINIATURE
from dtvg_jax.report.statistics import spread

Json = dict[str, Any]


def groups(job: Json, records: Iterable[Json]) -> list[Json]:
    """Measures, per target and method, how often each source was in the group.

    The share is of the logged steps of a lane, then averaged over seeds. On generated
    data there are `useful`, `precision`, `recall` and `chance` as well.
    """
    known: Mapping[str, Sequence[str]] = {}
    if job.get("data_dir") == MINIATURE:
        known = catalogue.module("miniature.useful").USEFUL
    lanes: dict[tuple[str, str], dict[int, list[Json]]] = {}
    for record in records:
        if record["kind"] == "train" and record.get("group") is not None:
            seeds = lanes.setdefault((record["task"], record["method"]), {})
            seeds.setdefault(record["seed"], []).append(record)
    found = []
    for (task, method), seeds in lanes.items():
        # A target that is a source, too, is never in its own group.
        listed = next(iter(seeds.values()))[0]["sources"]
        others = [i for i, source in enumerate(listed) if source != task]
        sources = [listed[i] for i in others]
        chosen = [
            [[step["group"][i] for i in others] for step in seeds[seed]]
            for seed in sorted(seeds)
        ]
        found.append(
            {
                "task": task,
                "method": method,
                "sources": sources,
                "share": shares(chosen),
                "seeds": sorted(seeds),
                **against_useful(task, sources, chosen, known),
            }
        )
    return found


def shares(lanes: Sequence[Sequence[Sequence[int]]]) -> list[float]:
    """Takes each source's share of steps, mean over lanes, of [lane][step][S]."""
    per_lane = [
        [spread(column).mean for column in zip(*steps, strict=True)] for steps in lanes
    ]
    return [spread(column).mean for column in zip(*per_lane, strict=True)]


def against_useful(
    task: str,
    sources: Sequence[str],
    lanes: Sequence[Sequence[Sequence[int]]],
    known: Mapping[str, Sequence[str]],
) -> Json:
    """Holds the groups of a target to its useful sources, where these are known.

    Gives `useful`, those of the job's sources; mean `precision` and `recall`; and
    `chance`, the precision of a group of all sources, or of any drawn at random. What
    is measured of nothing is None.
    """
    if task not in known:
        return {}
    useful = [source in known[task] for source in sources]
    measured = [precision_and_recall(steps, useful) for steps in lanes]
    precision, recall = (
        _mean([value for value in values if value is not None])
        for values in zip(*measured, strict=True)
    )
    return {
        "useful": [name for name, is_ in zip(sources, useful, strict=True) if is_],
        "precision": precision,
        "recall": recall,
        "chance": _mean(useful),
    }


def precision_and_recall(
    groups: Sequence[Sequence[int]], useful: Sequence[bool]
) -> tuple[float | None, float | None]:
    """Takes precision and recall of the groups [step][S] of one lane, mean over steps.

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


def _mean(values: Sequence[float]) -> float | None:
    return spread(values).mean if values else None
