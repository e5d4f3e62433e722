"""The two stages from Python: learn prompts of tasks, transfer them to targets."""

import os
from collections.abc import Sequence
from typing import Any

from dtvg_jax import files
from dtvg_jax.jobs import job, pipeline
from dtvg_jax.report.records import Report
from dtvg_jax.store.prompt_store import PromptStore
from dtvg_jax.training.stages import Stage


def learn(
    tasks: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    stage: Stage,
    **settings: Any,  # fields of Job, which checks them
) -> PromptStore:
    """Learns a prompt per task and seed (stage 1), and tests them.

    Args:
      tasks: names of the catalogue, or of a `tasks_module` in the settings.
      folder: of the job; the same call resumes it.
      stage: how prompts are learned.
      **settings: other fields of `Job`: backbone, seeds, prompt_length, ...

    Returns:
      The store in the folder; entries are "<task>/stage1-seed<n>".
    """
    made = job.Job(
        **{"backbone": "miniature", **settings},
        sources=list(tasks),
        targets=[],
        stage1=stage,
        stage2=stage,
        methods=[],
    )
    pipeline.run(made, folder)
    return PromptStore(files.expand(folder) / "store")


def transfer(
    sources: Sequence[str],
    targets: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    stage1: Stage,
    stage2: Stage,
    **settings: Any,  # fields of Job, which checks them
) -> Report:
    """Learns what is missing of stage 1, and transfers the sources to the targets.

    Args:
      sources: tasks whose vectors are used.
      targets: tasks that are tuned, by each of the `methods` in settings.
      folder: of the job; the same call resumes it.
      stage1: how the prompts of sources and targets are learned.
      stage2: how targets are tuned.
      **settings: other fields of `Job`.

    Returns:
      The report: `results` and `summary`, as in results.json, and its plots.
    """
    made = job.Job(
        **{"backbone": "miniature", **settings},
        sources=list(sources),
        targets=list(targets),
        stage1=stage1,
        stage2=stage2,
    )
    return pipeline.run(made, folder)
