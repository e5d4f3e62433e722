"""A job's folder: one process at a time, one plan for good, where it ran."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from dtvg_jax.errors import InputError
from dtvg_jax.jobs import job, plan

PACKAGES = ("dtvg_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
PACKAGES += ("seqio", "tensorflow-datasets", "safetensors")


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Makes the folder and holds it for this process.

    Raises InputError where it cannot be written or another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+")  # noqa: SIM115
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}): give another --job_dir"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another process works on {folder}: wait for it, or give another "
                "--job_dir"
            ) from None
        yield


def planned(job: job.Job, facts: dict[str, Any]) -> dict[str, Any]:
    """Makes the content of plan.json.

    `facts` are what results depend on beside the settings: the backbone's digest.
    """
    made = {"format": 1, "settings": plan.settings(job) | facts}
    made["programs"] = [
        {
            "name": program.name,
            "stage": program.stage,
            "lanes": [lane._asdict() for lane in program.lanes],
        }
        for program in plan.programs(job)
    ]
    return json.loads(json.dumps(made))


def check_plan(folder: pathlib.Path, now: dict[str, Any]) -> None:
    """Raises InputError where plan.json is of another job; names what differs."""
    path = folder / "plan.json"
    if not path.exists():
        return
    try:
        was = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON ({error}): restore it") from None
    differing = plan.differences(was["settings"], now["settings"])
    if differing or was != now:
        raise InputError(
            f"{folder} holds a job with other settings "
            f"({'; '.join(differing) or 'its plan differs'}): give another --job_dir, "
            "or the settings it was begun with"
        )


def describe_environment(command: Sequence[str]) -> dict[str, Any]:
    """Gathers versions, devices, revision and command, for environment.json."""
    return {
        "command": list(command),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "revision": _revision(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


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
