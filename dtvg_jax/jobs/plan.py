"""What a job does: its programs, and the lanes in each."""

import dataclasses
import json
from collections.abc import Collection, Hashable, Sequence
from typing import NamedTuple

from dtvg_jax import files
from dtvg_jax.data import catalogue
from dtvg_jax.files import JsonObject
from dtvg_jax.jobs.job import PLACES, Job
from dtvg_jax.jobs.search import Search
from dtvg_jax.methods import METHODS, Method, Start
from dtvg_jax.training.runs import Lane, Run, Trial
from dtvg_jax.training.stages import Stage

STAGE1 = METHODS["prompt_tuning"]
# The plan says these of each method and of each prompt that is taken.
IN_OTHER_WORDS = ("method_settings", "prompts_from")


class Program(NamedTuple):
    """Lanes that are trained together in one compiled program, sorted by seed.

    `method` is that of the first lane; those of the others are of the same structure.
    """

    name: str
    stage: int
    method: Method
    lanes: tuple[Lane, ...]

    @property
    def runs(self) -> list[Run]:
        """The runs of the lanes."""
        return [lane.run for lane in self.lanes]


def tasks(job: Job) -> list[str]:
    """Lists sources and targets, each task once."""
    return list(dict.fromkeys([*job.sources, *job.targets]))


def learned(job: Job) -> list[str]:
    """Lists what stage 1 learns a prompt of: each task, and the mixture."""
    return [*tasks(job), *([job.mixture] if job.mixture else [])]


def stage1_run(task: str, seed: int) -> Run:
    """Names the run of stage 1 that learns a task's own prompt."""
    return Run(1, task, STAGE1.name, seed)


def stage_of(job: Job, program: Program) -> Stage:
    """Gives the settings of a program's stage."""
    return job.stage1 if program.stage == 1 else job.stage2


def measured_tasks(job: Job, taken: Collection[Run] = ()) -> list[str]:
    """Lists the tasks whose rows are read: those not `taken` with every seed."""
    return [
        task
        for task in tasks(job)
        if any(stage1_run(task, seed) not in taken for seed in job.seeds)
    ]


def programs(job: Job, taken: Collection[Run] = ()) -> list[Program]:
    """Sorts all lanes of a job into programs; methods of one structure share one.

    The runs of stage 1 that are `taken` from other stores have no lanes.
    """
    stage, rates = job.stage1, STAGE1.rates(job.stage1.learning_rate)
    first = [
        Lane(stage1_run(task, seed), _stage1_steps(job, task), stage.warmup, rates)
        for seed in job.seeds
        for task in learned(job)
        if stage1_run(task, seed) not in taken
    ]
    found = [Program("stage1", 1, STAGE1, tuple(first))] if first else []
    alike: dict[Hashable, list[Method]] = {}
    for method in job.resolved_methods() if job.targets else ():
        alike.setdefault(method.structure, []).append(method)
    return found + [_second(job, together) for together in alike.values()]


def _second(job: Job, together: Sequence[Method]) -> Program:
    """Makes the program of methods of one structure."""
    lanes = tuple(
        _second_lane(job, method, trial, task, seed)
        for seed in job.seeds
        for method in together
        for trial in _trials(job, method)
        for task in job.targets
    )
    name = "-".join(["stage2", *(method.full_name for method in together)])
    return Program(name, 2, together[0], lanes)


def _second_lane(
    job: Job, method: Method, trial: Trial | None, task: str, seed: int
) -> Lane:
    """Makes a lane of stage 2, with what a trial has in place of the stage's."""
    rate, warmup = job.stage2.learning_rate, job.stage2.warmup
    if trial is not None:
        rate = trial.rate
        warmup = warmup if trial.warmup is None else trial.warmup
    return Lane(
        Run(2, task, method.name, seed, method.variant, trial),
        _stage2_steps(job, method, task),
        warmup,
        method.rates(rate),
    )


def _trials(job: Job, method: Method) -> Sequence[Trial | None]:
    return [None] if job.search is None else job.search.trials(method.name)


def compared(job: Job) -> dict[str, Method]:
    """Gives the methods that the report compares: the variants of a search are one."""
    found: dict[str, Method] = {}
    for method in job.resolved_methods() if job.targets else ():
        if job.search is None:
            found[method.full_name] = method
        else:
            found.setdefault(method.name, dataclasses.replace(method, variant=""))
    return found


def method_of(job: Job, run: Run) -> Method:
    """Gives the method of a run."""
    if run.stage == 1:
        return STAGE1
    named = {method.full_name: method for method in job.resolved_methods()}
    return named[run.full_method]


def settings(job: Job) -> JsonObject:
    """Gives the settings that results depend on, as JSON."""
    plain = dataclasses.asdict(job)
    for name in (*PLACES, *IN_OTHER_WORDS):
        del plain[name]
    plain["methods"] = {m.full_name: m.settings for m in job.resolved_methods()}
    # As a plan that is read has it: with lists for tuples.
    return json.loads(files.json_bytes(plain))


def describe(job: Job, taken: Collection[Run] = ()) -> str:
    """Writes the plan for people: programs, their lanes and steps."""
    lines = [
        f"backbone {job.backbone}, prompt length {job.prompt_length}, "
        f"seeds {', '.join(map(str, job.seeds))}, data {job.data_dir}"
    ]
    if job.shots is not None:
        lines.append(f"targets are trained on {job.shots} rows each, {job.shot_rule}")
    if taken:
        lines.append(f"{len(taken)} prompts of stage 1 are taken from other stores")
    mixed = catalogue.mixtures().get(job.mixture or "", ())
    if seen := [task for task in job.targets if task in mixed]:
        lines.append(f"the mixture {job.mixture} has rows of {', '.join(seen)} in it")
    if job.search is not None:
        lines += [_described(job, job.search)]
    for program in programs(job, taken):
        stage = stage_of(job, program)
        lines.append(
            f"{program.name}: {len(program.lanes)} lanes, batch size "
            f"{stage.batch_size}, validated every {stage.validate_every} steps"
        )
        lines += _by_setting(program)
    return "\n".join(lines)


def _by_setting(program: Program) -> list[str]:
    """Lists the tasks of each method and number of steps, a line each."""
    tasks: dict[tuple[str, int], dict[str, None]] = {}
    for run, steps, *_ in program.lanes:
        tasks.setdefault((run.setting, steps), {})[run.task] = None
    return [
        f"  {setting}, {steps} steps: {', '.join(names)}"
        for (setting, steps), names in tasks.items()
    ]


def _described(job: Job, search: Search) -> str:
    names = [method.name for method in job.resolved_methods()]
    count = names.count(names[0]) * len(search.trials(names[0]))
    halved = ", ".join(map(str, search.halve_at))
    return (
        f"search: {count} settings of each method on each target, chosen by validation"
        + (f", halved at step {halved}" if halved else "")
    )


def _stage2_steps(job: Job, method: Method, task: str) -> int:
    """Counts the steps of a lane of stage 2, so that methods train equally long.

    A start that is not the target's own prompt makes up for the steps that this took.
    """
    if method.start == Start.OWN:
        return job.stage2.steps
    return _stage1_steps(job, task) + job.stage2.steps


def _stage1_steps(job: Job, task: str) -> int:
    only_target = task in job.targets and task not in job.sources
    return (job.stage1.target_steps if only_target else None) or job.stage1.steps
