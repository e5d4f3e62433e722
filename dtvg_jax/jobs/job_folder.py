"""A job's folder: one process at a time, one plan for good, where it ran."""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence

import jax

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject, lease, remote
from dtvg_jax.files.differences import differences
from dtvg_jax.jobs import plan
from dtvg_jax.jobs.job import Job
from dtvg_jax.jobs.token_tables import Tables
from dtvg_jax.training import hosts
from dtvg_jax.training.runs import Run

# Of plan.json; 2 had no digests in measured/ and results.json, 3 had rates of methods
# in stages, 4 had no trials.
FORMAT = 5
BEGUN = ("checkpoints", "measured")  # written after the plan only
PACKAGES = ("dtvg_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
PACKAGES += ("seqio", "tensorflow-datasets", "safetensors")


@contextlib.contextmanager
def locked(
    folder: files.Path, check: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Makes the folder and holds it for this process.

    Of the processes of one job, process 0 holds it. `check` is called while a lease of
    a dead process runs out, and may raise. Raises InputError where the folder cannot be
    written or another process holds it.
    """
    if not hosts.first():
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            remote.check_jobs(folder)
            if isinstance(folder, pathlib.Path):
                folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(lease.alone(folder, "--job_dir", check))
        except OSError as error:
            if error.errno is None:  # of an object store, which says what is wrong
                raise
            raise InputError(
                f"{folder} cannot be written ({error.strerror}): give another --job_dir"
            ) from None
        yield


def planned(job: Job, taken: Collection[Run], facts: JsonObject) -> JsonObject:
    """Makes the content of plan.json.

    `facts` are what results depend on beside the settings: the backbone's digest, and
    where the runs of stage 1 that are `taken` come from.
    """
    programs = [
        {
            "name": program.name,
            "stage": program.stage,
            "lanes": [
                lane.run.as_json() | {"steps": lane.steps} for lane in program.lanes
            ],
        }
        for program in plan.programs(job, taken)
    ]
    settings = plan.settings(job) | facts
    return {"format": FORMAT, "settings": settings, "programs": programs}


def check_hosts(job: Job) -> None:
    """Raises InputError where another host has other settings or versions.

    With another mesh or batch size for decoding, which no plan compares, they would
    run other programs and wait for each other.
    """
    facts = {
        "evaluation_batch_size": job.evaluation_batch_size,
        "mesh": job.mesh and dataclasses.asdict(job.mesh),
        "versions": _versions(),
    }
    hosts.check_alike(plan.settings(job) | facts)


def split_digests(tables: Tables) -> JsonObject:
    """Gives the digests of the rows that a job reads, by "task/split"."""
    return {
        f"{task}/{split}": table.metadata.split_digest
        for (task, split), table in tables.items()
    }


def check_splits(folder: files.Path, now: JsonObject) -> None:
    """Raises InputError where rows of a job changed since it was begun; names them."""
    path = folder / "plan.json"
    was = files.read_json(path).get("splits") if path.exists() else now
    changed = [one.name for one in differences(was, now)]
    if changed:
        raise InputError(
            f"the data of {', '.join(changed)} changed since the job in {folder} was "
            "begun: restore them, or give another --job_dir"
        )


def check_plan(folder: files.Path, now: JsonObject) -> None:
    """Raises InputError where plan.json is of another job; names what differs.

    `now` has no "splits": these are compared when the tables are there.
    """
    path = folder / "plan.json"
    if not path.exists():
        if any((folder / name).exists() for name in BEGUN):
            raise InputError(
                f"{path} is gone, and without it nobody knows whether {folder} holds "
                "this job: restore it, or give another --job_dir"
            )
        return
    was = files.read_json(path, "restore it, or give another --job_dir")
    splits = was.pop("splits", None)
    if was.get("format") != FORMAT:
        raise InputError(
            f"{folder} holds a job of another version of dtvg_jax (plan.json has "
            f"format {was.get('format')!r}, this version's is {FORMAT}): finish it "
            "with that version, or give another --job_dir; its store can be read"
        )
    differing = list(map(str, differences(was.get("settings"), now["settings"])))
    # As JSON has it: a record's tuple is a list there.
    same = was == json.loads(files.json_bytes(now)) and isinstance(splits, dict)
    if differing or not same:
        raise InputError(
            f"{folder} holds a job with other settings "
            f"({'; '.join(differing) or 'its plan differs'}): give another --job_dir, "
            "or the settings it was begun with"
        )


def begin(
    folder: files.Path,
    planned: JsonObject,
    tables: Tables,
    config_gin: str,
    environment: JsonObject,
) -> None:
    """Writes plan.json with the digests of all rows, config.gin and environment.json.

    Raises InputError where rows changed since the job was begun, a host has another
    backbone or other rows, or does not see the folder that process 0 writes.
    """
    splits = split_digests(tables)
    hosts.check_alike({"settings": planned["settings"], "splits": splits})
    check_splits(folder, splits)
    _write(folder, planned | {"splits": splits}, config_gin, environment)
    _check_shared(folder)


@hosts.written_once
def _write(
    folder: files.Path,
    plan_json: JsonObject,
    config_gin: str,
    environment: JsonObject,
) -> None:
    files.write_json(folder / "plan.json", plan_json)
    files.write_bytes(folder / "config.gin", config_gin.encode())
    files.write_json(folder / "environment.json", environment)


def _check_shared(folder: files.Path) -> None:
    if not (folder / "plan.json").exists():
        raise InputError(
            f"{folder} is not the folder that process 0 has begun to write: give a "
            "--job_dir that all hosts see, as on NFS"
        )


def describe_environment(command: Sequence[str]) -> JsonObject:
    """Gathers versions, devices, revision and command, for environment.json."""
    return {
        "command": list(command),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "revision": _revision(),
        "packages": _versions(),
    }


def _versions() -> JsonObject:
    return {name: _version(name) for name in PACKAGES}


def _revision() -> str | None:
    here = pathlib.Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
