"""What a job is to do: its settings, and the programs and lanes that they mean."""

import dataclasses
from typing import Any, NamedTuple

from dtvg_jax import methods
from dtvg_jax.jobs.job import PLACES, Job
from dtvg_jax.training.stages import Lane


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


def _stage1_steps(job: Job, task: str) -> int:
    only_target = task not in job.sources
    return (job.stage1.target_steps if only_target else None) or job.stage1.steps


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
