"""Prompts of sources that a job takes from stores instead of learning them.

Targets' own prompts are learned in every job: methods are compared after the same steps
on the same rows of the target.
"""

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

from dtvg_jax import files
from dtvg_jax.data import catalogue
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.jobs import plan
from dtvg_jax.jobs.job import Job
from dtvg_jax.store import entries
from dtvg_jax.store.entries import Entry, EntryName, Fit
from dtvg_jax.store.prompt_store import PromptStore
from dtvg_jax.training.runs import Run

# Methods of entries that hold a task's own prompt, the better known first.
OWN = (entries.STAGE1, entries.IMPORTED)


@dataclasses.dataclass(frozen=True)
class Taken:
    """The entry that stands for a run of stage 1, and the store that it lies in."""

    entry: str
    store: str


Takes: TypeAlias = Mapping[Run, Taken]


def find(job: Job) -> dict[Run, Taken]:
    """Finds by name which runs of stage 1 need not be learned; the first store wins.

    Raises InputError for a store without prompts, and for a task that is in none and
    not in the catalogue either.
    """
    held: dict[str, list[tuple[EntryName, Taken]]] = {}
    for folder in job.prompts_from:
        for name in _own_prompts(folder):
            held.setdefault(name.task, []).append((name, Taken(str(name), folder)))
    found = {}
    for task in plan.tasks(job):
        options = [] if task in job.targets else held.get(task, [])
        for seed in job.seeds:
            taken = [one for name, one in options if name.seed == seed]
            # A bare vector may be of any seed.
            taken += [one for _, one in options if _bare(job)]
            if taken:
                found[plan.stage1_run(task, seed)] = taken[0]
            else:
                catalogue.check_task(task, job.tasks_module)
    return found


def of_job(job: Job, folder: files.Path) -> dict[Run, Taken]:
    """Finds what a new job takes; what a resumed one took is in its plan."""
    path = folder / "plan.json"
    if not path.exists():
        return find(job)
    content = files.read_json(path, "restore it, or give another --job_dir")
    settings = content.get("settings")
    was = settings.get("taken") if isinstance(settings, dict) else None
    if not isinstance(was, dict):  # a plan of another version, or a damaged one
        return {}
    found = {}
    for run, one in was.items():
        task, _, seed = entries.parse(run)
        taken = files.record(Taken, one, f"{path}: taken.{run}")
        found[plan.stage1_run(task, seed)] = taken
    return found


def as_json(takes: Takes) -> dict[str, JsonObject]:
    """Gives what is taken, by the entry that would be learned."""
    return {
        str(entries.name_of(run)): dataclasses.asdict(one) for run, one in takes.items()
    }


def read(
    job: Job, takes: Takes, own: PromptStore, fits: Mapping[int, Fit]
) -> dict[Run, Entry]:
    """Reads what is taken: from the job's own store what it has already.

    `fits` are by seed. Raises InputError for an entry that does not fit, by name and
    field. Vectors of another P_init fit methods that take bare ones; this is said.
    """
    there, found = set(own.names()), {}
    for run, one in takes.items():
        store = own if one.entry in there else PromptStore(one.store)
        entry = store.read(one.entry, fit(job, fits[run.seed]))
        if differing := fits[run.seed].differences(entry.metadata):
            print(
                f"{entries.name_of(run)}  taken from {one.entry} as a bare vector: "
                f"{differing[0]}",
                flush=True,
            )
        found[run] = entry
    return found


def fit(job: Job, needed: Fit) -> Fit:
    """Says what an entry must agree with to be taken."""
    return needed._replace(p_init_digest=None) if _bare(job) else needed


def _own_prompts(folder: str) -> list[EntryName]:
    """Lists the tasks' own prompts of a store."""
    path = files.expand(folder)
    names = [entries.parse(name) for name in PromptStore(path).names()]
    own = [name for name in names if name.method in OWN]
    if not own:
        inside = path / "store"
        hint = f": give {inside}" if inside.is_dir() else ""
        raise InputError(f"prompts_from: {folder!r} holds no prompt of stage 1{hint}")
    return sorted(own, key=lambda name: (OWN.index(name.method), name.seed))


def _bare(job: Job) -> bool:
    """Tells whether all methods that merge sources take vectors of any P_init."""
    merging = [one for one in job.resolved_methods() if one.merges_sources]
    return bool(merging) and all(one.bare_vectors for one in merging)
