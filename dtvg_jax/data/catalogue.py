"""The catalogue of tasks."""

import importlib

from dtvg_jax import errors


def check_task(name: str, tasks_module: str = "tasks.all") -> None:
    """Raises InputError with the nearest name where the catalogue lacks a task.

    Tasks of another module are known only once it is imported.
    """
    known = importlib.import_module("tasks.table").KNOWN
    if name not in known and tasks_module == "tasks.all":
        raise errors.unknown("task", name, known)
