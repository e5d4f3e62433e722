"""The token tables of a job: every split of every task, and few shots of targets."""

import functools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from dtvg_jax import files
from dtvg_jax.data import catalogue, mixtures, prepared, source, token_table
from dtvg_jax.data.mixtures import Mixture
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.jobs import plan
from dtvg_jax.jobs.job import Job
from dtvg_jax.training.runs import Run

Tables = dict[tuple[str, str], TokenTable]  # by task and split


def parts(job: Job, name: str) -> list[str]:
    """Lists the tasks of the job's mixture; of another name, itself."""
    if name != job.mixture:
        return [name]
    return list(mixtures.rates(name, job.tasks_module))


def lengths(job: Job, name: str) -> tuple[int, int]:
    """Gives the most tokens of inputs and targets, of a task or of the mixture."""
    own = np.array([catalogue.lengths(task) for task in parts(job, name)]).max(axis=0)
    bounds = (job.inputs_length, job.targets_length)
    inputs, targets = (
        min(int(n), bound or int(n)) for n, bound in zip(own, bounds, strict=True)
    )
    return inputs, targets


def open_tables(
    job: Job,
    vocabulary: Any,
    check: Callable[[], None],
    taken: Collection[Run] = (),
) -> Tables:
    """Opens or makes all tables; `check` is called before each and may raise.

    Sources whose runs of stage 1 are all `taken` from other stores need none.

    Splits are "train", "validation" and "test", and for targets of few shots one for
    each seed, `training_split`. Tasks of the mixture are among them.

    Raises InputError for data that are missing or that a task cannot read.
    """
    cache = files.expand_local(job.cache_dir, "the cache folder")
    mixed = parts(job, job.mixture) if job.mixture else []
    names = list(dict.fromkeys([*plan.measured_tasks(job, taken), *mixed]))
    builders = source.builders(names, job.tasks_module)
    data_dir = prepared.folder(job.data_dir, cache, builders, job.download)
    settings_for = functools.partial(
        token_table.TableSettings,
        vocabulary=vocabulary,
        cache_dir=cache,
        tfds_data_dir=data_dir,
        label_style=job.label_style,
        tasks_module=job.tasks_module,
    )
    rows = {"validation": job.validation_rows, "test": job.test_rows}

    def open_table(task: str, split: str, shots: tuple[str, int, int] | None = None):
        check()
        mine = settings_for(lengths=lengths(job, task))
        table = token_table.token_table(task, split, mine, shots, check)
        return token_table.head(table, rows.get(split))

    tables = {
        (task, split): open_table(task, split)
        for task in names
        for split in ("validation", "test", "train")
    }
    few = [task for task in names if _few_shots(job, task)]
    return tables | {
        (task, training_split(job, task, seed)): open_table(
            task, "train", (job.shot_rule, int(job.shots or 0), seed)
        )
        for task in few
        for seed in job.seeds
    }


def training_rows(job: Job, tables: Tables, run: Run) -> TokenTable | Mixture:
    """Gives what a lane is trained on."""
    found = [
        tables[task, training_split(job, task, run.seed)]
        for task in parts(job, run.task)
    ]
    if run.task != job.mixture:
        return found[0]
    return mixtures.mix(run.task, job.tasks_module, found)


def training_split(job: Job, task: str, seed: int) -> str:
    """Names the split that a lane is trained on."""
    return f"train-seed{seed}" if _few_shots(job, task) else "train"


def _few_shots(job: Job, task: str) -> bool:
    """Tells whether a task has few shots: targets have, sources keep all rows."""
    return job.shots is not None and task in job.targets and task not in job.sources
