"""The one door to the repository's package `tasks`, whatever Python finds by that name.

`tasks` is a name that users take too, and a file or folder where they start comes first
on Python's path. It stays theirs; ours is then loaded from its folder as `dtvg_tasks`.
"""

import functools
import importlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from dtvg_jax import errors

# `tasks` lies beside the package, in a checkout and in site-packages alike.
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tasks"
ALL = "tasks.all"  # in settings, the tasks of the catalogue
OURS = "dtvg_tasks"


@runtime_checkable
class TaskInfo(Protocol):
    """What the package needs to know of a task; see `tasks.task_info.TaskInfo`."""

    @property
    def builder(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...] | None: ...
    @property
    def metrics(self) -> tuple[str, ...]: ...
    @property
    def seqio_name(self) -> str: ...
    @property
    def inputs_length(self) -> int: ...
    @property
    def targets_length(self) -> int: ...


def module(name: str) -> types.ModuleType:
    """Imports a module of ours, such as "metrics" or "miniature.datasets"."""
    return importlib.import_module(f"{_package()}.{name}")


def known() -> Mapping[str, TaskInfo]:
    """Gives the tasks of the catalogue by name."""
    return module("task_info").KNOWN


def check_label_style(label_style: str) -> None:
    """Raises InputError for a style that no task is registered in."""
    styles = module("task_info").CONVENTIONS
    if label_style not in styles:
        raise errors.unknown("label style", label_style, styles)


def seqio_name(info: TaskInfo, label_style: str) -> str:
    """Names the SeqIO task that has its labels in a known style."""
    return info.seqio_name + module("task_info").CONVENTIONS[label_style]


def check_task(name: str, tasks_module: str = ALL) -> None:
    """Raises InputError with the nearest name where the catalogue lacks a task.

    Tasks of another module are known only once it is imported.
    """
    if tasks_module == ALL and name not in known():
        raise errors.unknown("task", name, known())


def import_tasks(tasks_module: str) -> types.ModuleType:
    """Imports the module that registers tasks with SeqIO; `ALL` is always ours."""
    if tasks_module == ALL:
        return module("all")
    return importlib.import_module(tasks_module)


def stored_name(module_name: str) -> str:
    """Gives the name under which any later process finds a module by `find`."""
    package, dot, rest = module_name.partition(".")
    return f"{OURS}{dot}{rest}" if package == _package() else module_name


def find(stored: str) -> types.ModuleType:
    """Imports the module that `stored_name` named."""
    package, _, rest = stored.partition(".")
    return module(rest) if package == OURS else importlib.import_module(stored)


def is_ours(package: str) -> bool:
    """Tells whether Python finds our folder when it is asked for `package`.

    Nothing is imported: a stranger's `tasks` may do anything when it is.
    """
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module that something put there by hand
        return False
    places = (spec and spec.submodule_search_locations) or ()
    return [pathlib.Path(place).resolve() for place in places] == [FOLDER]


@functools.cache
def _package() -> str:
    """Names the package under which ours is imported, once and for all of a process.

    A second copy would register every task with SeqIO a second time.
    """
    if is_ours("tasks"):
        return "tasks"
    spec = importlib.util.spec_from_file_location(
        OURS, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules[OURS] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[OURS])
    return OURS
