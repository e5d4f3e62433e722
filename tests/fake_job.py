"""A made-up job folder, as a job leaves it, for the tests of the report."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from dtvg_jax import files, report
from dtvg_jax.training import metrics_log

# The content of a JSON file, which tests alter before it is written.
Json: TypeAlias = dict[str, Any]

SOURCES = ["mnli", "qnli", "qqp", "sst2", "superglue-record", "squad"]
TARGETS = ["superglue-rte", "mrpc", "cola", "superglue-boolq", "superglue-cb"]
TARGETS += ["superglue-wic"]
METHODS = ["prompt_tuning", "dtvg"]


def row(task: str, method: str, seed: int, score: float, **other: Any) -> Json:
    """A row of results.json: stage 2, one metric, unless `other` says so."""
    made = {
        "stage": 2,
        "role": "target",
        "task": task,
        "method": method,
        "seed": seed,
        "split": "test",
        "examples": 400,
        "split_digest": "1" * 64,
        "primary_metric": "accuracy",
        "metrics": {"accuracy": score, "mean": score},
        "validation": {"accuracy": score, "mean": score},
        "best_step": 100,
        "sources": None,
        "group": None,
        "predictions": f"predictions/{task}-test-{method}-seed{seed}.jsonl",
        "entry": f"store/{task}-{method}-seed{seed}",
        "prompt_digest": "0" * 64,
        "failed": None,
        "only_answer": None,
        "growth": 1.0,
    }
    return made | other


def results(
    rows: list[Json],
    *,
    sources: list[str],
    targets: list[str],
    methods: list[str],
    seeds: list[int],
) -> Json:
    """A results.json around some rows, with nothing else in it."""
    return {
        "format": 3,
        "job": {
            "backbone": "miniature",
            "backbone_digest": "abcdef0123456789",
            "prompt_length": 8,
            "data_dir": "/data",
            "seeds": seeds,
            "sources": sources,
            "targets": targets,
            "methods": methods,
            "seconds": {"stage 1": 61.2, "stage 2": 93.9},
        },
        "rows": rows,
        "majority": {task: {"accuracy": 50.0, "mean": 50.0} for task in targets},
        "single_source": [],
        "similarity": {},
    }


def small() -> Json:
    """Two targets, two seeds: dtvg is ahead by 1, 3 (mrpc), 2, 6 (rte)."""
    scores = {
        ("mrpc", "prompt_tuning"): (70.0, 74.0),
        ("mrpc", "dtvg"): (71.0, 77.0),
        ("rte", "prompt_tuning"): (60.0, 60.0),
        ("rte", "dtvg"): (62.0, 66.0),
    }
    rows = [
        row(task, method, seed, score)
        for (task, method), of_seeds in scores.items()
        for seed, score in enumerate(of_seeds)
    ]
    source = {"stage": 1, "role": "source"}
    rows += [row("qnli", "prompt_tuning", s, 90.0 + s, **source) for s in (0, 1)]
    return results(
        rows, sources=["qnli", "sst2"], targets=["mrpc", "rte"], methods=METHODS,
        seeds=[0, 1],
    )  # fmt: skip


def trial(task: str, seed: int, score: float, rate: float, **other: Any) -> Json:
    """A trial of results.json: of dtvg, not chosen, unless `other` says so."""
    made = {
        "task": task,
        "method": "dtvg",
        "variant": "",
        "trial": {"rate": rate, "warmup": None},
        "seed": seed,
        "validation": {"accuracy": score, "mean": score},
        "best_step": 100,
        "stopped": None,
        "failed": None,
        "entry": f"store/{task}/dtvg@{rate}-seed{seed}",
        "prompt_digest": "0" * 64,
        "chosen": False,
    }
    return made | other


def grouped(step: int, seed: int, group: list[int], method: str = "dtvg") -> Json:
    """A record of a step whose group was this mask over `sources`."""
    return {
        "kind": "train",
        "program": "stage2-dtvg",
        "lane": f"mrpc/{method}/seed{seed}",
        "stage": 2,
        "task": "mrpc",
        "method": method,
        "seed": seed,
        "step": step,
        "loss": 1.0,
        "sources": ["qnli", "sst2"],
        "group": group,
        "target_similarity": 0.1,
        "knowledge_consistency": None,
    }


def save(folder: pathlib.Path, made: Json, records: list[Json]) -> pathlib.Path:
    """Writes results.json and metrics.jsonl; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "metrics.jsonl").write_text(lines)
    made = made | {"log_digest": metrics_log.digest(folder)}
    (folder / "results.json").write_text(json.dumps(files.seal(made)))
    return folder


def full(
    folder: pathlib.Path,
    *,
    sources: list[str] = SOURCES,
    targets: list[str] = TARGETS,
    methods: tuple[str, ...] = ("prompt_tuning", "spot", "dtvg"),
    seeds: tuple[int, ...] = (0, 1, 2),
    steps: int = 150,
) -> pathlib.Path:
    """A job of both stages with random but plausible numbers in every place."""
    rng = np.random.default_rng(0)
    rows, records = [], []
    tasks = list(dict.fromkeys([*sources, *targets]))
    for task in tasks:
        for seed in seeds:
            records += _stage_1(rng, task, seed, 2 * steps)
            role = "source" if task in sources else "target"
            score = round(float(rng.uniform(70, 98)), 2)
            made = row(task, "prompt_tuning", seed, score, stage=1, role=role)
            rows += [made] if role == "source" else []
    for task in targets:
        own = [source for source in sources if source != task]
        for method in methods:
            for seed in seeds:
                records += _stage_2(rng, task, method, seed, own, steps)
                score = round(float(rng.uniform(60, 90)), 2)
                rows.append(row(task, method, seed, score, sources=own))
    made = results(
        rows, sources=sources, targets=targets, methods=list(methods), seeds=list(seeds)
    )
    made["single_source"] = [
        _single(rng, task, source, seed)
        for task in targets
        for source in sources
        for seed in seeds
        if source != task
    ]
    made["similarity"] = {f"seed{seed}": _cosines(rng, tasks) for seed in seeds}
    return save(folder, made, records)


def _single(rng: np.random.Generator, task: str, source: str, seed: int) -> Json:
    score = round(float(rng.uniform(40, 70)), 2)
    metrics = {"accuracy": score, "mean": score}
    single = {"task": task, "source": source, "seed": seed, "examples": 400}
    return single | {"validation": metrics, "metrics": metrics}


def _cosines(rng: np.random.Generator, tasks: list[str]) -> Json:
    vectors = rng.normal(size=(len(tasks), 6)) + 0.5
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    return {"tasks": tasks, "matrix": (vectors @ vectors.T).tolist()}


def _stage_1(rng: np.random.Generator, task: str, seed: int, steps: int) -> list[Json]:
    return [
        _train(1, "stage1", task, "prompt_tuning", seed, step)
        | {"loss": 0.3 + 1.5 * np.exp(-step / 50) + abs(0.1 * rng.normal())}
        for step in range(10, steps + 1, 10)
    ]


def _stage_2(
    rng: np.random.Generator,
    task: str,
    method: str,
    seed: int,
    sources: list[str],
    steps: int,
) -> list[Json]:
    records = []
    base = rng.normal(size=len(sources)) * 0.02
    for step in range(10, steps + 1, 10):
        record = _train(2, f"stage2-{method}", task, method, seed, step)
        record["loss"] = 0.25 + 0.5 * np.exp(-step / 40) + abs(0.1 * rng.normal())
        if method not in ("prompt_tuning", "spot"):
            seen = base + 0.01 * rng.normal(size=len(sources))
            group = seen > 0
            record |= {
                "sources": sources,
                "similarity": seen.tolist(),
                "group": group.astype(int).tolist(),
                "target_similarity": float(seen[group].mean()) if group.any() else 0.0,
                "knowledge_consistency": float(0.01 + 0.002 * rng.normal()),
            }
        records.append(record)
    return records


def _train(
    stage: int, program: str, task: str, method: str, seed: int, step: int
) -> Json:
    return {
        "kind": "train",
        "program": program,
        "lane": f"{task}/{method}/seed{seed}",
        "stage": stage,
        "task": task,
        "method": method,
        "seed": seed,
        "step": step,
        "grad_norm": 1.0,
    }


def written(
    tmp_path: pathlib.Path, made: Json, records: Sequence[Json] = ()
) -> tuple[report.Report, str]:
    """Makes the report of a results.json and a log; returns it with results.md."""
    folder = save(tmp_path / "job", made, list(records))
    returned = report.write(folder)
    content = json.loads((folder / "results.json").read_text())
    assert files.seal(report.to_json(returned)) == content
    return returned, (folder / "results.md").read_text()
