"""All weights tuned on each target: what the job's prompts could reach at most.

It costs a copy of the backbone and a run per target and seed, so a job has it only
where it is asked for. What is learned is measured and not kept.
"""

from collections.abc import Callable

import jax
import numpy as np

from dtvg_jax import files
from dtvg_jax.data.microbatches import Stream
from dtvg_jax.jobs import measurements
from dtvg_jax.jobs.job import Job
from dtvg_jax.jobs.testing import Evaluator
from dtvg_jax.jobs.token_tables import training_split
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.report.records import Ceiling
from dtvg_jax.shapes import Params
from dtvg_jax.training import all_weights
from dtvg_jax.training.stages import Stage


def measure(
    job: Job, evaluator: Evaluator, folder: files.Path, check: Callable[[], None]
) -> list[Ceiling]:
    """Tunes and tests all weights for each target and seed that is not measured yet."""
    if job.ceiling is None:
        return []
    return [
        _measured(job.ceiling, job, task, seed, evaluator, folder, check)
        for task in job.targets
        for seed in job.seeds
    ]


def _measured(
    stage: Stage,
    job: Job,
    task: str,
    seed: int,
    evaluator: Evaluator,
    folder: files.Path,
    check: Callable[[], None],
) -> Ceiling:
    part = f"ceiling-{task}-seed{seed}"
    setup = evaluator.setup
    of = {"backbone": setup.backbone.digest}
    found = measurements.read(folder, part, Ceiling, of)
    if found is not None:
        return found

    def scores(params: Params, split: str) -> dict[str, float]:
        """Scores weights without a prompt."""
        tuned = setup._replace(backbone=setup.backbone._replace(params=params))
        width = setup.backbone.embedding(params).shape[1]
        nothing = Prompts(np.zeros((1, 0, width), np.float32))
        [given] = evaluator._replace(setup=tuned).scores(nothing, [(0, task)], split)
        return dict(given)

    stream = Stream(evaluator.tables[task, training_split(job, task, seed)], seed)
    tuned = all_weights.train(
        part,
        setup.backbone,
        stage,
        stream,
        lambda params: scores(params, "validation"),
        setup.placement,
        check,
    )
    found = Ceiling(
        task=task,
        seed=seed,
        trained=sum(x.size for x in jax.tree.leaves(tuned.params)),
        best_step=tuned.step,
        validation=tuned.validation,
        metrics=scores(tuned.params, "test"),
    )
    measurements.write(folder, part, found, of)
    return found
