"""The package's only access to `tasks`, whatever Python finds under that name.

Users may have a module `tasks` in their working directory, which comes first on
Python's path. It stays theirs; ours is then loaded from its folder as `dtvg_tasks`.
"""

import functools
import importlib
import importlib.util
import os
import pathlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from dtvg_jax import errors

# `tasks` lies beside the package, in a checkout and in site-packages alike.
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tasks"
ALL = "tasks.all"  # in settings, the tasks of the catalogue
OURS = "dtvg_tasks"

# Most tokens of inputs and targets of tasks that the catalogue does not know. Rows are
# padded to their own lengths, so a bound that few of them reach costs nothing.
OWN_TASK_LENGTHS = (512, 128)


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


@runtime_checkable
class Described(Protocol):
    """What `describe` says of a task; see `tasks.registration.Described`."""

    @property
    def fields(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> tuple[str, ...] | None: ...


class Scoring(NamedTuple):
    """How predictions on a task are scored.

    metrics: functions of (gold answers, predictions) that give values by name
    postprocess: makes a prediction from a text; None: the text is the prediction
    metric_names: the values that count, primary metric first; None: all
    labels: the texts that a target can be; None: any text
    """

    metrics: tuple[Callable[..., Any], ...]
    postprocess: Callable[..., Any] | None = None
    metric_names: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None


def module(name: str) -> types.ModuleType:
    """Imports a module of ours, such as "metrics" or "miniature.datasets"."""
    return importlib.import_module(f"{_package()}.{name}")


def known() -> Mapping[str, TaskInfo]:
    """Gives the tasks of the catalogue by name."""
    return module("task_info").KNOWN


def mixtures() -> Mapping[str, list[str]]:
    """Gives the tasks of each mixture of the catalogue."""
    found = module("task_info").MIXTURES
    return {name: [info.name for info in tasks] for name, tasks in found.items()}


def mixture_cap() -> int:
    """Gives the most rows that count towards the share of a task in a mixture."""
    return module("task_info").MIXTURE_CAP


def check_mixture(name: str, tasks_module: str = ALL) -> None:
    """Raises InputError as `check_task` does, for a mixture of tasks."""
    if name in mixtures():
        return
    if tasks_module == ALL:
        raise errors.unknown("mixture", name, mixtures())
    check_module(tasks_module)


def check_label_style(label_style: str) -> None:
    """Raises InputError for a style that no task is registered in."""
    styles = module("task_info").CONVENTIONS
    if label_style not in styles:
        raise errors.unknown("label style", label_style, styles)


def seqio_name(info: TaskInfo, label_style: str) -> str:
    """Names the SeqIO task that has its labels in a known style."""
    return info.seqio_name + module("task_info").CONVENTIONS[label_style]


def scoring(info: TaskInfo, label_style: str) -> Scoring:
    """Gives the functions that score a task of the catalogue; SeqIO is not needed."""
    made = module("scoring").scoring(info, label_style)
    return Scoring(made.metrics, made.postprocess, info.metrics, made.labels)


def check_task(name: str, tasks_module: str = ALL) -> None:
    """Raises InputError with the nearest name where the catalogue lacks a task.

    Tasks of another module are known only once it is imported; here it has to exist.
    """
    if tasks_module == ALL:
        if name not in known():
            raise errors.unknown("task", name, known())
    else:
        check_module(tasks_module)


def check_module(tasks_module: str) -> None:
    """Raises InputError where there is no such module; nothing is imported."""
    if tasks_module == ALL:
        return
    if tasks_module.endswith(".py") or not _exists(tasks_module.partition(".")[0]):
        raise errors.InputError(
            f"tasks_module = {tasks_module!r}: there is no such module in the working "
            "directory or on PYTHONPATH (it is named without folder and without .py)"
        )


def import_tasks(tasks_module: str) -> types.ModuleType:
    """Imports the module that registers tasks with SeqIO; `ALL` is always ours.

    A running script that is this module itself is not imported a second time.
    """
    if tasks_module == ALL:
        return module("all")
    if tasks_module not in sys.modules:
        script, spec = sys.modules["__main__"], importlib.util.find_spec(tasks_module)
        file = getattr(script, "__file__", None)
        if file and spec and spec.origin and os.path.samefile(file, spec.origin):
            return script
    return importlib.import_module(tasks_module)


def is_ours(package: str) -> bool:
    """Tells whether Python finds our folder when it is asked for `package`.

    Nothing is imported, since somebody else's `tasks` may run any code.
    """
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module that something put there by hand
        return False
    places = (spec and spec.submodule_search_locations) or ()
    return [pathlib.Path(place).resolve() for place in places] == [FOLDER]


def _exists(package: str) -> bool:
    """Tells whether Python finds a module; nothing is imported."""
    try:
        return package in sys.modules or importlib.util.find_spec(package) is not None
    except ValueError:  # no name at all
        return False


@functools.cache
def _package() -> str:
    """Names the package that our tasks are imported as, the same for the whole process.

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


def lengths(task: str) -> tuple[int, int]:
    """Gives the most tokens of a task's inputs and targets by default."""
    info = known().get(task)
    return (info.inputs_length, info.targets_length) if info else OWN_TASK_LENGTHS
