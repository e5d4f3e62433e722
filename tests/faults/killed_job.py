"""Runs a small job and kills it at a named point of its life.

python killed_job.py POINT JOB_DIR CACHE_DIR
"""

import dataclasses
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import tiny_job

from dtvg_jax import files, report
from dtvg_jax.data import tokenise
from dtvg_jax.inference import predictions
from dtvg_jax.jobs import job_folder, pipeline
from dtvg_jax.jobs.job import Job
from dtvg_jax.report import figures
from dtvg_jax.store.prompt_store import METADATA_FILE, PromptStore
from dtvg_jax.training import checkpoints
from dtvg_jax.training.metrics_log import MetricsLog


class Point(NamedTuple):
    """A call of a function, before or after which the process is killed."""

    owner: Any
    function: str
    after: bool = False
    call: int = 1  # which of the calls that `counts`
    counts: Callable[..., bool] = lambda *_: True


def _writes(name: str) -> Callable[..., bool]:
    return lambda path, content: path.name == name


# A program saves its state before its first step and at each of its two validations.
POINTS = {
    "before the plan": Point(job_folder, "check_splits"),
    "after the plan": Point(files, "write_bytes", counts=_writes("config.gin")),
    "while tokenising": Point(tokenise, "tokenise", call=2),
    "after P_init": Point(PromptStore, "write_p_init", after=True),
    "before the first checkpoint": Point(checkpoints, "save"),
    "amid stage 1": Point(checkpoints, "save", after=True, call=2),
    "between log and checkpoint": Point(checkpoints, "save", call=3),
    "between the log and its seal": Point(MetricsLog, "position", call=3),
    "between train and store": Point(PromptStore, "write"),
    "amid writing an entry": Point(files, "write_bytes", counts=_writes(METADATA_FILE)),
    "between two entries": Point(PromptStore, "write", after=True),
    "during tests": Point(predictions, "write", call=2),
    "before tests are kept": Point(files, "write_bytes", counts=_writes("stage1.json")),
    "before sources are kept": Point(
        files, "write_bytes", counts=_writes("sources.json")
    ),
    "amid stage 2": Point(checkpoints, "save", after=True, call=5),
    "before results": Point(report, "save"),
    "during the report": Point(figures, "draw", after=True),
    "before results.md": Point(files, "write_bytes", counts=_writes("results.md")),
}


# The settings of `job` for a gin file.
GIN = (
    tiny_job.GIN.replace('["sst2", "mrpc"]', '["sst2"]')
    .replace("targets = []", 'targets = ["mrpc"]')
    .replace("methods = []", 'methods = ["dtvg"]')
)


def job(cache: pathlib.Path) -> Job:
    """Makes the settings of a job of both stages."""
    sources = {"sources": ["sst2"], "targets": ["mrpc"], "methods": ["dtvg"]}
    return dataclasses.replace(tiny_job.make(cache), **sources)


def arm(point: Point) -> None:
    """Puts the kill into the function."""
    real, calls = getattr(point.owner, point.function), 0

    def killing(*args, **named):
        nonlocal calls
        calls += point.counts(*args, **named)
        if calls == point.call and not point.after:
            os.kill(os.getpid(), signal.SIGKILL)
        made = real(*args, **named)
        if calls == point.call:
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    setattr(point.owner, point.function, killing)


if __name__ == "__main__":
    name, folder, cache = sys.argv[1:]
    # As in the process of the tests, whose results are compared.
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_compilation_cache_dir", f"{cache}/xla")
    arm(POINTS[name])
    pipeline.run(job(pathlib.Path(cache)), folder)
