"""What is measured of learnt prompts, and results.json, which holds all of it."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from dtvg_jax.data import scoring
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import InputError
from dtvg_jax.inference import predictions, split_decoding
from dtvg_jax.jobs import job
from dtvg_jax.jobs.token_tables import Tables
from dtvg_jax.store import prompt_store
from dtvg_jax.training.loop import Scores
from dtvg_jax.training.stages import Lane

FORMAT = 1
NOT_FINITE = "its loss, gradient or prompt was not finite"

Json = dict[str, Any]


class Evaluator(NamedTuple):
    """Decodes and scores prompts on the splits of a job."""

    predict: Any  # predict(prompts [K, P, H], pairs) -> texts per pair
    tables: Tables

    def scores(
        self, prompts: Float[Any, "K P H"], names: Sequence[str], split: str
    ) -> Scores:
        """Scores prompt k on task `names[k]`."""
        pairs = [
            split_decoding.Pair(k, self.tables[n, split]) for k, n in enumerate(names)
        ]
        texts = self.predict(prompts, pairs)
        return [scoring.score(p.table, t) for p, t in zip(pairs, texts, strict=True)]


def open_results(folder: pathlib.Path, job: job.Job, backbone: Any) -> Json:
    """Reads the results of an interrupted job, or begins new ones."""
    path = folder / "results.json"
    if path.exists():
        try:
            return json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path} is not JSON ({error}): remove it, and the prompts will be "
                "tested again"
            ) from None
    return {
        "format": FORMAT,
        "complete": False,
        "job": {
            "backbone": backbone.name,
            "backbone_digest": backbone.digest,
            "prompt_length": job.prompt_length,
            "data_dir": job.data_dir,
            "seeds": list(job.seeds),
            "sources": list(job.sources),
            "targets": list(job.targets),
            "methods": list(job.methods) if job.targets else [],
            "seconds": {},
        },
        "rows": [],
        "majority": {},
        "single_source": [],
        "similarity": {},
    }


def missing(results: Json, lanes: Sequence[Lane]) -> list[Lane]:
    """Lists the lanes without a row in the results."""
    there = {(r["stage"], r["task"], r["method"], r["seed"]) for r in results["rows"]}
    return [
        lane
        for lane in lanes
        if (lane.stage, lane.task, lane.method, lane.seed) not in there
    ]


def test(
    lanes: Sequence[Lane],
    entries: Sequence[prompt_store.Entry],
    evaluator: Evaluator,
    folder: pathlib.Path,
    sources: Sequence[str],
) -> list[Json]:
    """Tests stored prompts on the test split; writes predictions, returns rows."""
    prompts = np.stack([entry.arrays["prompt"] for entry in entries])
    tables = [evaluator.tables[lane.task, "test"] for lane in lanes]
    pairs = [split_decoding.Pair(k, table) for k, table in enumerate(tables)]
    texts = evaluator.predict(prompts, pairs)
    rows = []
    for lane, entry, table, answers in zip(lanes, entries, tables, texts, strict=True):
        file = f"predictions/{lane.entry.replace('/', '-')}-test.jsonl"
        predictions.write_predictions(folder / file, table, answers)
        rows.append(_row(lane, entry, table, answers, sources) | {"predictions": file})
    return rows


def _row(
    lane: Lane,
    entry: prompt_store.Entry,
    table: TokenTable,
    answers: Sequence[str],
    sources: Sequence[str],
) -> Json:
    group = entry.arrays.get("group")
    scores = scoring.score(table, answers)
    return {
        "stage": lane.stage,
        "role": "source" if lane.stage == 1 and lane.task in sources else "target",
        "task": lane.task,
        "method": lane.method,
        "seed": lane.seed,
        "split": table.split,
        "examples": len(table),
        "split_digest": table.metadata.split_digest,
        "headline": (table.metadata.scoring.metric_names or list(scores))[0],
        "metrics": scores,
        "validation": entry.passport["metrics"],
        "best_step": entry.passport["step"],
        "sources": None if group is None else list(sources),
        "group": None if group is None else group.astype(int).tolist(),
        "entry": f"store/{lane.entry}",
        "prompt_digest": entry.passport["prompt_digest"],
        "failed": entry.passport["failed"],
    }


def majority(targets: Sequence[str], tables: Tables) -> dict[str, dict[str, float]]:
    """Scores the most frequent training answer of each task on its test split."""
    found = {
        t: scoring.majority(tables[t, "train"], tables[t, "test"]) for t in targets
    }
    return {task: scores for task, scores in found.items() if scores is not None}


def single_sources(
    sources: Sequence[str],
    targets: Sequence[str],
    seeds: Sequence[int],
    prompts: dict[tuple[str, int], np.ndarray],
    evaluator: Evaluator,
) -> list[Json]:
    """Scores every source's own prompt, untuned, on every other target."""
    cases = [
        (target, source, seed)
        for target in targets
        for source in sources
        for seed in seeds
        if source != target
    ]
    if not cases:
        return []
    array = np.stack([prompts[source, seed] for _, source, seed in cases])
    names = [target for target, _, _ in cases]
    validation, tested = (
        evaluator.scores(array, names, split) for split in ("validation", "test")
    )
    return [
        {
            "task": target,
            "source": source,
            "seed": seed,
            "examples": len(evaluator.tables[target, "test"]),
            "validation": validation[i],
            "metrics": tested[i],
        }
        for i, (target, source, seed) in enumerate(cases)
    ]


def similarity(
    tasks: Sequence[str], vectors: Sequence[Float[np.ndarray, "P H"]]
) -> Json:
    """Measures the cosine of the mean rows of task prompt vectors."""
    means = np.stack([vector.mean(axis=0) for vector in vectors])
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    means = means / np.where(norms > 0, norms, 1)
    return {"tasks": list(tasks), "matrix": (means @ means.T).astype(float).tolist()}
