"""What a job is to do: its settings, and the programs and lanes that they mean."""

import dataclasses
import difflib
import importlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from dtvg_jax import methods
from dtvg_jax.errors import InputError
from dtvg_jax.stages import Lane, Stage

# Where a job's files lie and how much is decoded at once changes no result.
PLACES = ("backbone", "data_dir", "download", "cache_dir", "evaluation_batch_size")
CHOICES = {
    "label_style": ("digits", "words", "reference"),
    "dtype": ("float32", "bfloat16"),
    "shot_rule": ("random_k", "balanced_k"),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """The settings of a job.

    Attributes:
      backbone: a Hugging Face folder, or "miniature", the one in the package.
      sources: tasks whose task prompt vectors are transferred.
      targets: tasks they are transferred to; none: only stage 1.
      stage1: how the prompts of sources and targets are learnt.
      stage2: how targets are tuned by each method.
      methods: names of `methods.METHODS`; none: only stage 1.
      seeds: each gives a P_init, an order of the data, and lanes of its own.
      prompt_length: P.
      inputs_length: T, the most tokens of an input; longer ones are cut.
      targets_length: L, the most tokens of a target and of a prediction.
      data_dir: folder of prepared TFDS data, or "miniature", which is generated.
      download: fetch the data that are missing there; nothing is fetched otherwise.
      tasks_module: registers with SeqIO the tasks that are not in the catalogue.
      label_style: "digits", "words", or "reference": digits, with the shortcuts and
        bugs of the reference (docs/tasks.md).
      shots: targets are trained on so many rows, drawn anew by each seed; None: on all.
      shot_rule: how they are drawn, "random_k" or "balanced_k".
      dtype: of the backbone, "float32" or "bfloat16".
      validation_rows: only the first rows of validation splits are used, all if None.
      test_rows: the same of test splits.
      evaluation_batch_size: rows of a block when decoding.
      cache_dir: token tables, generated data and compiled programs; shared by jobs.
    """

    backbone: str
    sources: Sequence[str]
    targets: Sequence[str]
    stage1: Stage
    stage2: Stage
    methods: Sequence[str] = ("prompt_tuning", "spot", "dtvg")
    seeds: Sequence[int] = (42,)
    prompt_length: int = 100
    inputs_length: int = 256
    targets_length: int = 16
    data_dir: str = "miniature"
    download: bool = False
    tasks_module: str = "tasks.all"
    label_style: str = "digits"
    shots: int | None = None
    shot_rule: str = "random_k"
    dtype: str = "float32"
    validation_rows: int | None = None
    test_rows: int | None = None
    evaluation_batch_size: int = 32
    cache_dir: str = "~/.cache/dtvg_jax"

    def __post_init__(self):
        for name in ("prompt_length", "inputs_length", "targets_length"):
            _whole(name, getattr(self, name))
        _whole("evaluation_batch_size", self.evaluation_batch_size)
        for name in ("validation_rows", "test_rows", "shots"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name))
        for name in ("stage1", "stage2"):
            if not isinstance(getattr(self, name), Stage):
                raise InputError(f"{name} must be a Stage: @{name}/stages.Stage()")
        for name in ("sources", "targets", "methods", "seeds"):
            _distinct(name, getattr(self, name))
        for seed in self.seeds:
            if not isinstance(seed, int) or not 0 <= seed < 2**32:
                raise InputError(f"seeds has {seed!r}: a seed is a whole number >= 0")
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                choices = " or ".join(map(repr, known))
                raise InputError(f"{name} = {value!r}: it must be {choices}")
        if not self.seeds or not (*self.sources, *self.targets):
            raise InputError("a job needs at least one seed and one source or target")
        for task in (*self.sources, *self.targets):
            check_task(task, self.tasks_module)
        for name in self.methods:
            methods.by_name(name)
            methods.check_sources(name, len(self.sources))


class Program(NamedTuple):
    """Lanes that are trained together in one compiled program, sorted by seed."""

    name: str
    stage: int
    lanes: tuple[Lane, ...]


def tasks(job: Job) -> list[str]:
    """Lists sources and targets, each task once."""
    return list(dict.fromkeys([*job.sources, *job.targets]))


def programs(job: Job) -> list[Program]:
    """Sorts all lanes of a job into programs; methods of one structure share one."""
    first = [
        Lane(1, task, "prompt_tuning", seed, _stage1_steps(job, task))
        for seed in job.seeds
        for task in tasks(job)
    ]
    found = [Program("stage1", 1, tuple(first))]
    alike: dict[methods.Method, list[str]] = {}
    for name in job.methods if job.targets else ():
        alike.setdefault(methods.by_name(name), []).append(name)
    for names in alike.values():
        lanes = tuple(
            Lane(2, task, name, seed, job.stage2.steps)
            for seed in job.seeds
            for name in names
            for task in job.targets
        )
        found.append(Program("stage2-" + "-".join(names), 2, lanes))
    return found


def settings(job: Job) -> dict[str, Any]:
    """Gives the settings that results depend on, as JSON."""
    plain = dataclasses.asdict(job)
    for name in PLACES:
        del plain[name]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def differences(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names the settings that differ, "stage1.steps was 300, is 200"."""
    flat_was, flat_now = _flat(was), _flat(now)
    return [
        f"{name} was {flat_was.get(name)!r}, is {flat_now.get(name)!r}"
        for name in dict.fromkeys([*flat_was, *flat_now])
        if flat_was.get(name) != flat_now.get(name)
    ]


def describe(job: Job) -> str:
    """Writes the plan for people: programs, their lanes and steps."""
    lines = [
        f"backbone {job.backbone}, prompts of {job.prompt_length} rows, "
        f"seeds {', '.join(map(str, job.seeds))}, data {job.data_dir}"
    ]
    if job.shots is not None:
        lines.append(f"targets are trained on {job.shots} rows each, {job.shot_rule}")
    for program in programs(job):
        stage = job.stage1 if program.stage == 1 else job.stage2
        steps = max(lane.steps for lane in program.lanes)
        lines.append(
            f"{program.name}: {len(program.lanes)} lanes of {stage.batch_size} rows, "
            f"{steps} steps, validated every {stage.validate_every}"
        )
        names = dict.fromkeys((lane.task, lane.method) for lane in program.lanes)
        lines += [f"  {task} by {method}" for task, method in names]
    return "\n".join(lines)


def check_task(name: str, tasks_module: str = "tasks.all") -> None:
    """Raises InputError with the nearest name where the catalogue lacks a task.

    Tasks of another module are known only once it is imported.
    """
    known = importlib.import_module("tasks.table").KNOWN
    if name not in known and tasks_module == "tasks.all":
        near = difflib.get_close_matches(str(name), known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown task {name!r}: {hint}known are {', '.join(known)}")


def _stage1_steps(job: Job, task: str) -> int:
    only_target = task not in job.sources
    return (job.stage1.target_steps if only_target else None) or job.stage1.steps


def _whole(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} = {value!r}: it must be a whole number >= 1")


def _distinct(name: str, values: Any) -> None:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name} = {values!r}: it must be a list, such as ['a', 'b']")
    values = list(values)
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise InputError(f"{name} names {twice[0]!r} twice")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
