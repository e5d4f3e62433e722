"""What is measured of learned prompts: on test splits, other tasks, each other."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dtvg_jax import files
from dtvg_jax.data import scoring
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.inference import predictions, split_decoding
from dtvg_jax.inference.split_decoding import Decode, Pair, Setup
from dtvg_jax.jobs.job import Job
from dtvg_jax.jobs.token_tables import Tables
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.report import health
from dtvg_jax.report.records import (
    MixtureRow,
    ResultRow,
    SimilarityMatrix,
    SingleSource,
)
from dtvg_jax.store import entries
from dtvg_jax.store.entries import Entry, Metadata
from dtvg_jax.training.loop import Scores
from dtvg_jax.training.runs import Run


class Evaluator(NamedTuple):
    """Decodes and scores prompts on the splits of a job."""

    decode: Decode
    setup: Setup
    tables: Tables
    parts: Callable[[str], Sequence[str]]  # the tasks of a mixture; of a task, itself

    def predict(self, prompts: Prompts, pairs: Sequence[Pair]) -> list[list[str]]:
        """Answers the rows of each pair's table with its prompt."""
        return split_decoding.predict(self.decode, self.setup, prompts, pairs)

    def scores(
        self, prompts: Prompts, tried: Sequence[tuple[int, str]], split: str
    ) -> Scores:
        """Scores prompt k on a task or a mixture, for each pair (k, name)."""
        tasks = [self.parts(name) for _, name in tried]
        pairs = [
            Pair(k, self.tables[task, split])
            for (k, _), several in zip(tried, tasks, strict=True)
            for task in several
        ]
        texts = self.predict(prompts, pairs)
        found = map(scoring.score, (pair.table for pair in pairs), texts)
        return [
            next(found)
            if list(several) == [name]
            else _together({task: next(found)["mean"] for task in several})
            for (_, name), several in zip(tried, tasks, strict=True)
        ]


def _together(means: Mapping[str, float]) -> dict[str, float]:
    """Scores a mixture: the mean of each task, and the mean of these."""
    return {**means, "mean": sum(means.values()) / len(means)}


def test(
    runs: Sequence[Run],
    learned: Sequence[Entry],
    evaluator: Evaluator,
    folder: files.Path,
    sources: Sequence[str],
) -> list[ResultRow]:
    """Tests stored prompts on the test split; writes predictions, returns rows."""
    prompts = entries.prompts_of(learned)
    tables = [evaluator.tables[run.task, "test"] for run in runs]
    pairs = [Pair(k, table) for k, table in enumerate(tables)]
    texts = evaluator.predict(prompts, pairs)
    rows = []
    for run, entry, table, answers in zip(runs, learned, tables, texts, strict=True):
        file = f"predictions/{entries.name_of(run).flat}-test.jsonl"
        predictions.write(folder / file, table, answers)
        rows.append(_row(run, entry, table, answers, file, sources))
    return rows


def _row(
    run: Run,
    entry: Entry,
    table: TokenTable,
    answers: Sequence[str],
    file: str,
    sources: Sequence[str],
) -> ResultRow:
    group = entry.arrays.get("group")
    scores = scoring.score(table, answers)
    return ResultRow(
        stage=run.stage,
        role="source" if run.stage == 1 and run.task in sources else "target",
        task=run.task,
        method=run.method,
        variant=run.variant,
        trial=run.trial,
        seed=run.seed,
        split=table.split,
        examples=len(table),
        split_digest=table.metadata.split_digest,
        primary_metric=scoring.primary_metric(table, scores),
        metrics=scores,
        validation=entry.metadata.metrics,
        best_step=entry.metadata.step or 0,
        sources=None if group is None else list(sources),
        group=None if group is None else group.astype(int).tolist(),
        entry=f"store/{entries.name_of(run)}",
        prompt_digest=entry.metadata.prompt_digest,
        failed=entry.metadata.failed,
        predictions=file,
        only_answer=health.only_answer(answers, table.golds),
        growth=health.growth(entry.arrays["prompt"], entry.arrays["tpv"]),
    )


def mixture_row(learned: Metadata) -> MixtureRow:
    """Says how the prompt of a mixture validated."""
    return MixtureRow(
        mixture=learned.task,
        seed=learned.seed,
        best_step=learned.step or 0,
        validation=learned.metrics,
        failed=learned.failed,
        entry=f"store/{learned.name}",
        prompt_digest=learned.prompt_digest,
    )


def majority(tasks: Sequence[str], tables: Tables) -> dict[str, dict[str, float]]:
    """Scores the most frequent training answer of each task on its test split."""
    found = {
        task: scoring.majority(tables[task, "train"], tables[task, "test"])
        for task in tasks
    }
    return {task: scores for task, scores in found.items() if scores is not None}


def single_sources(
    job: Job,
    prompts: Mapping[tuple[str, int], Float[np.ndarray, "P H"]],
    evaluator: Evaluator,
) -> list[SingleSource]:
    """Scores the sources' own prompts, untuned, on every other target.

    `prompts` are by task and seed.
    """
    cases = [
        (target, source, seed)
        for target, (source, seed) in itertools.product(job.targets, prompts)
        if source in job.sources and source != target
    ]
    if not cases:
        return []
    stacked = Prompts(np.stack([prompts[source, seed] for _, source, seed in cases]))
    tried = [(k, target) for k, (target, _, _) in enumerate(cases)]
    validation = evaluator.scores(stacked, tried, "validation")
    tested = evaluator.scores(stacked, tried, "test")
    return [
        SingleSource(
            task=target,
            source=source,
            seed=seed,
            examples=len(evaluator.tables[target, "test"]),
            validation=validation[i],
            metrics=tested[i],
        )
        for i, (target, source, seed) in enumerate(cases)
    ]


def similarity(
    tasks: Sequence[str], vectors: Sequence[Float[np.ndarray, "P H"]]
) -> SimilarityMatrix:
    """Measures the cosine of the mean rows of task prompt vectors."""
    means = np.stack([vector.mean(axis=0) for vector in vectors])
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    means = means / np.where(norms > 0, norms, 1)
    return SimilarityMatrix(list(tasks), (means @ means.T).astype(float).tolist())
