"""The two stages from Python: learn prompts of tasks, transfer them to targets."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from dtvg_jax import errors, files
from dtvg_jax.errors import InputError
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
    own: dict[str, Any] = {"sources": tasks, "targets": [], "methods": []}
    made = _job(own | {"stage1": stage, "stage2": stage}, settings)
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
    own: dict[str, Any] = {"sources": sources, "targets": targets}
    made = _job(own | {"stage1": stage1, "stage2": stage2}, settings)
    return pipeline.run(made, folder)


def _job(own: dict[str, Any], settings: dict[str, Any]) -> job.Job:
    """Makes a job of what a function sets itself, and of other fields."""
    known = [field.name for field in dataclasses.fields(job.Job)]
    for name in settings:
        if name in own:
            raise InputError(f"{name} is not a setting here: the function sets it")
        if name not in known:
            raise errors.unknown("setting", name, known)
    given: dict[str, Any] = {"backbone": "miniature"}
    return job.Job(**given | settings | own)
