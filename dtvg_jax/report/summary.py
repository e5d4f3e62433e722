"""From the rows of results.json to the numbers of the report.

A row is one tested prompt: a lane of stage 1 or 2. What is made here goes back into
results.json, so that every number shown can be read there.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dtvg_jax.report.group_shares import groups
from dtvg_jax.report.statistics import paired_interval, spread

BASELINE = "prompt_tuning"

Json = dict[str, Any]


def summary(results: Json, records: Sequence[Json]) -> Json:
    """Makes `table`, `comparisons`, `groups` and `failed` of results.json."""
    table = score_table(results)
    return {
        "table": table,
        "comparisons": comparisons(results["rows"], table),
        "groups": groups(results["job"], records),
        "failed": failures(results),
    }


def score_table(results: Json) -> list[Json]:
    """Lists, per stage, task and method: mean, sd, and what to hold them to.

    Sources come first, then targets, each in the order of the job. Failed lanes are not
    in the means; where all of them failed the mean is None.
    """
    rows = results["rows"]
    table = []
    for stage, role, task, method in _in_order(results["job"], rows):
        cell = [row for row in rows if _key(row) == (stage, role, task, method)]
        tested = sorted(_tested(cell), key=lambda row: row["seed"])
        example = (tested or cell)[0]
        metric = example["headline"]
        scores = [row["metrics"][metric] for row in tested]
        mean, sd = spread(scores) if scores else (None, None)
        table.append(
            {
                "stage": stage,
                "role": role,
                "task": task,
                "method": method,
                "metric": metric,
                "mean": mean,
                "sd": sd,
                "seeds": [row["seed"] for row in tested],
                "scores": scores,
                "examples": example["examples"],
                "majority": results.get("majority", {}).get(task, {}).get(metric),
                "best_source": (
                    best_source(results.get("single_source", []), task, metric)
                    if role == "target"
                    else None
                ),
            }
        )
    return table


def best_source(singles: Iterable[Json], task: str, metric: str) -> Json | None:
    """Finds the source whose untuned prompt validates best on a task; gives its test.

    Validation is `mean` of the task's metrics, averaged over seeds; ties go to the
    source that comes first. The test score plays no part in the choice.
    """
    by_source: dict[str, list[Json]] = {}
    for single in singles:
        if single["task"] == task:
            by_source.setdefault(single["source"], []).append(single)
    if not by_source:
        return None
    candidates = [
        {
            "source": source,
            "validation": spread([one["validation"]["mean"] for one in found]).mean,
            "score": spread([one["metrics"][metric] for one in found]).mean,
            "seeds": sorted(one["seed"] for one in found),
        }
        for source, found in by_source.items()
    ]
    return max(candidates, key=lambda candidate: candidate["validation"])


def comparisons(rows: Sequence[Json], table: Sequence[Json]) -> list[Json]:
    """Compares each method with prompt tuning, over the (task, seed) pairs of both.

    `mean` is over the targets' means; `difference` is the mean over pairs, with its
    95 % interval, None where fewer than two pairs have both; `by_task` has the same of
    single targets.
    """
    stage = last_stage(table)
    if stage is None:
        return []
    last = [
        entry
        for entry in table
        if entry["role"] == "target" and entry["stage"] == stage
    ]
    compared = []
    for method in _distinct(entry["method"] for entry in last):
        means = [
            entry["mean"]
            for entry in last
            if entry["method"] == method and entry["mean"] is not None
        ]
        entry: Json = {
            "method": method,
            "mean": spread(means).mean if means else None,
            "tasks": len(means),
        }
        if method != BASELINE:
            entry |= _differences(rows, method, stage)
        compared.append(entry)
    return compared


def _differences(rows: Sequence[Json], method: str, stage: int) -> Json:
    """Holds a method to prompt tuning: over all targets, and by target."""
    ours, base = (
        {
            (row["task"], row["seed"]): row["metrics"][row["headline"]]
            for row in _tested(rows)
            if (row["stage"], row["role"], row["method"]) == (stage, "target", name)
        }
        for name in (method, BASELINE)
    )
    by_task: dict[str, list[float]] = {}
    for task, seed in ours:
        if (task, seed) in base:
            pair = ours[task, seed] - base[task, seed]
            by_task.setdefault(task, []).append(pair)
    if not by_task:
        return {"baseline": BASELINE, "pairs": 0, "by_task": {}}
    every = [value for values in by_task.values() for value in values]
    each = {task: _interval(values) for task, values in by_task.items()}
    return {"baseline": BASELINE, **_interval(every), "by_task": each}


def _interval(differences: Sequence[float]) -> Json:
    found = paired_interval(differences)
    return {
        "pairs": found.pairs,
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "within_noise": found.within_noise,
    }


def failures(results: Json) -> list[Json]:
    """Lists lanes that failed, and lanes of the job's plan that have no result."""
    failed = [
        {name: row[name] for name in ("stage", "task", "method", "seed")}
        | {"reason": row["failed"]}
        for row in results["rows"]
        if row.get("failed")
    ]
    present = {(*_key(row), row["seed"]) for row in results["rows"]}
    missing = [
        {"stage": stage, "task": task, "method": method, "seed": seed}
        | {"reason": "no result"}
        for stage, role, task, method in _planned(results)
        for seed in results["job"]["seeds"]
        if (stage, role, task, method, seed) not in present
    ]
    return failed + missing


def last_stage(entries: Iterable[Json]) -> int | None:
    """Finds the stage whose target prompts are compared: 2, or 1 without transfer."""
    return max((x["stage"] for x in entries if x["role"] == "target"), default=None)


def _planned(results: Json) -> list[tuple[int, str, str, str]]:
    job, stage = results["job"], last_stage(results["rows"])
    sources = [(1, "source", task, BASELINE) for task in job["sources"]]
    if stage is None:
        return sources
    return sources + [
        (stage, "target", task, method)
        for task in job["targets"]
        for method in job["methods"]
    ]


def _tested(rows: Iterable[Json]) -> list[Json]:
    return [row for row in rows if not row.get("failed")]


def _key(row: Mapping[str, Any]) -> tuple[int, str, str, str]:
    return row["stage"], row["role"], row["task"], row["method"]


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _in_order(job: Json, rows: Sequence[Json]) -> list[tuple[int, str, str, str]]:
    """Sorts the cells: sources, then targets; tasks and methods in the job's order."""
    tasks = _distinct([*job["sources"], *job["targets"]])
    methods = _distinct(job["methods"])

    def rank(key: tuple[int, str, str, str]) -> tuple[int, int, int, int]:
        stage, role, task, method = key
        return (
            0 if role == "source" else 1,
            tasks.index(task) if task in tasks else len(tasks),
            stage,
            methods.index(method) if method in methods else len(methods),
        )

    return sorted(_distinct(_key(row) for row in rows), key=rank)
