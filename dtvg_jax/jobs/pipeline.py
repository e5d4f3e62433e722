"""A job: both stages over all lanes, tests and report, in one folder.

    job folder -> token tables -> stage 1 -> store -> stage 2 -> store -> results

Each part is skipped where the folder already holds what it makes, so an interrupted
job is continued by running it again.
"""

import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from dtvg_jax import files, methods, report
from dtvg_jax.formats.load import load_backbone
from dtvg_jax.inference import split_decoding
from dtvg_jax.jobs import job_folder, plan, stage_inputs, testing, token_tables
from dtvg_jax.jobs.job import Job
from dtvg_jax.jobs.plan import describe
from dtvg_jax.methods import initial_prompt
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.store import prompt_store
from dtvg_jax.training import compile_ahead, loop, placement, stages
from dtvg_jax.training.metrics_log import MetricsLog

__all__ = ["Job", "compile_steps", "describe", "run"]

Json = dict[str, Any]


class _Work(NamedTuple):
    job: Job
    backbone: Backbone
    folder: pathlib.Path
    store: prompt_store.PromptStore
    p_init: dict[int, Float[np.ndarray, "P H"]]  # by seed
    evaluator: testing.Evaluator
    log: MetricsLog
    check: Callable[[], None]


def run(
    job: Job,
    job_dir: pathlib.Path,
    *,
    check: Callable[[], None] = lambda: None,
    config_gin: str = "",
    command: Sequence[str] = (),
) -> Json:
    """Runs a job, or goes on with one, and returns its results (results.json).

    `check` is called between steps and batches and may raise `errors.Stopped`.
    Raises InputError for missing data or backbone, for a folder that another process
    holds, that holds a job of other settings, or that cannot be written.
    """
    folder = pathlib.Path(job_dir).expanduser()
    with job_folder.locked(folder):
        backbone = _placed(load_backbone(job.backbone, job.dtype))
        digests = {
            "backbone_digest": backbone.digest,
            "vocabulary_digest": backbone.vocabulary.digest,
        }
        planned = job_folder.planned(job, digests)
        job_folder.check_plan(folder, planned)
        # What cannot be is found before the plan is written: a corrected job may then
        # use the same folder.
        shared = _shared_starts(job, backbone)
        evaluator = _evaluator(job, backbone, check)
        files.write_json(folder / "plan.json", planned)
        files.write_bytes(folder / "config.gin", config_gin.encode())
        environment = job_folder.describe_environment(command)
        files.write_json(folder / "environment.json", environment)
        learned = prompt_store.PromptStore(folder / "store")
        for p_init in shared.values():
            learned.write_p_init(p_init)
        with MetricsLog(folder) as log:
            work = _Work(job, backbone, folder, learned, shared, evaluator, log, check)
            _run(work)
        return report.write(folder)


def compile_steps(job: Job, topology: str) -> Json:
    """Compiles a job's steps for a TPU slice such as "v5e:2x4" that is not here.

    Returns figures of each program: see `compile_ahead.compile_steps`.
    """
    backbone = load_backbone(job.backbone, job.dtype)
    steps = {}
    for program in plan.programs(job):
        stage = job.stage1 if program.stage == 1 else job.stage2
        shapes = compile_ahead.Shapes(
            lanes=len(program.lanes),
            groups=len(job.seeds),
            sources=len(job.sources) if program.stage == 2 else 0,
            prompt_length=job.prompt_length,
            batch_size=stage.batch_size,
            inputs_length=job.inputs_length,
            targets_length=job.targets_length,
        )
        steps[program.name] = compile_ahead.Step(
            program.lanes[0].method, stage.optimiser, shapes
        )
    return compile_ahead.compile_steps(
        topology,
        backbone.config,
        steps,
        dropout=job.stage1.dropout,
        dtype=job.dtype,
    )


def _placed(backbone: Backbone) -> Backbone:
    """Puts the parameters whole on every device."""
    where = placement.whole(placement.data_mesh())
    return backbone._replace(params=jax.device_put(backbone.params, where))


def _run(work: _Work) -> None:
    job = work.job
    results = testing.open_results(work.folder, job, work.backbone)
    results["majority"] = testing.majority(plan.tasks(job), work.evaluator.tables)
    for program in plan.programs(job):
        _learn(work, program, results)
        if program.stage == 1:
            _compare_sources(work, results)
    results["complete"] = True
    files.write_json(work.folder / "results.json", results)


def _learn(work: _Work, program: plan.Program, results: Json) -> None:
    """Trains the lanes of a program, stores their prompts, and tests them."""
    if not testing.missing(results, program.lanes):
        return
    seconds = results["job"]["seconds"]
    names = work.store.names()
    if any(lane.entry not in names for lane in program.lanes):
        trained = _train(work, program, results["single_source"])
        for k, lane in enumerate(program.lanes):
            work.store.write(lane.entry, *_entry(work, lane, trained, k))
        seconds[program.name] = round(trained.seconds, 1)
    print(f"{program.name}  testing {len(program.lanes)} prompts", flush=True)
    start = time.monotonic()
    entries = [_read(work, lane.entry) for lane in program.lanes]
    results["rows"] += testing.test(
        program.lanes, entries, work.evaluator, work.folder, work.job.sources
    )
    seconds[f"tests of {program.name}"] = round(time.monotonic() - start, 1)
    files.write_json(work.folder / "results.json", results)


def _train(work: _Work, program: plan.Program, singles: Sequence[Json]) -> loop.Trained:
    job, lanes = work.job, program.lanes
    tasks = [lane.task for lane in lanes]
    if program.stage == 1:
        context = stage_inputs.first(work.p_init, lanes)
    else:
        read = functools.partial(_read, work)
        context = stage_inputs.second(job, work.p_init, lanes, read, singles)
    training = loop.Training(
        name=program.name,
        method=methods.by_name(lanes[0].method),
        stage=job.stage1 if program.stage == 1 else job.stage2,
        lanes=lanes,
        context=context,
        tables=[work.evaluator.tables[_trained_on(work, lane)] for lane in lanes],
        sources=job.sources if program.stage == 2 else (),
        lengths=(job.inputs_length, job.targets_length),
    )
    return loop.train(
        training,
        work.backbone,
        lambda prompts: work.evaluator.scores(prompts, tasks, "validation"),
        work.folder / "checkpoints" / program.name,
        work.log,
        work.check,
    )


def _trained_on(work: _Work, lane: stages.Lane) -> tuple[str, str]:
    return lane.task, token_tables.training_split(work.job, lane.task, lane.seed)


def _compare_sources(work: _Work, results: Json) -> None:
    """Measures stage 1: similarities, and every source's prompt on every target."""
    job = work.job
    if results["similarity"]:
        return
    learnt = {
        (task, seed): _read(work, f"{task}/stage1-seed{seed}").arrays
        for task in plan.tasks(job)
        for seed in job.seeds
    }
    print("stage1  trying every source's prompt on every target", flush=True)
    start = time.monotonic()
    results["single_source"] = testing.single_sources(
        job.sources,
        job.targets,
        job.seeds,
        {key: arrays["prompt"] for key, arrays in learnt.items()},
        work.evaluator,
    )
    results["similarity"] = {
        f"seed{seed}": testing.similarity(
            plan.tasks(job), [learnt[task, seed]["tpv"] for task in plan.tasks(job)]
        )
        for seed in job.seeds
    }
    results["job"]["seconds"]["single sources"] = round(time.monotonic() - start, 1)
    files.write_json(work.folder / "results.json", results)


def _entry(
    work: _Work, lane: stages.Lane, trained: loop.Trained, k: int
) -> tuple[dict[str, np.ndarray], Json]:
    """Makes the arrays and the passport of lane k."""
    prompt = np.asarray(trained.best.prompt[k])
    p_init = work.p_init[lane.seed]
    arrays = {"prompt": prompt, "tpv": prompt - p_init}
    if "target_scale" in trained.best.trainables:
        own = {name: np.asarray(v[k]) for name, v in trained.best.trainables.items()}
        arrays["target_prompt"] = own.pop("prompt")
        arrays |= own | {"group": np.asarray(trained.best.memory[k]).astype(np.uint8)}
    splits = {
        "train": _trained_on(work, lane),
        "validation": (lane.task, "validation"),
        "test": (lane.task, "test"),
    }
    return arrays, {
        "task": lane.task,
        "method": lane.method,
        "stage": lane.stage,
        "seed": lane.seed,
        "step": int(trained.best.step[k]),
        "metrics": trained.scores[k],
        "failed": None if trained.alive[k] else testing.NOT_FINITE,
        "sources": list(work.job.sources) if "group" in arrays else None,
        "label_style": work.job.label_style,
        "lengths": [work.job.inputs_length, work.job.targets_length],
        "split_digests": {
            name: work.evaluator.tables[split].metadata.split_digest
            for name, split in splits.items()
        },
    } | _fits(work, lane.seed)


def _fits(work: _Work, seed: int) -> Json:
    """What an entry must agree with to be used in this job."""
    p_init = work.p_init[seed]
    return {
        "backbone": work.backbone.name,
        "backbone_digest": work.backbone.digest,
        "vocabulary_digest": work.backbone.vocabulary.digest,
        "prompt_length": p_init.shape[0],
        "width": p_init.shape[1],
        "p_init_digest": prompt_store.digest(p_init),
    }


def _read(work: _Work, name: str) -> prompt_store.Entry:
    seed = int(name.rpartition("-seed")[2])
    return work.store.read(name, **_fits(work, seed))


def _shared_starts(job: Job, backbone: Backbone) -> dict[int, np.ndarray]:
    embedding = backbone.embedding(backbone.params)
    return {
        seed: initial_prompt.p_init(embedding, job.prompt_length, seed)
        for seed in job.seeds
    }


def _evaluator(
    job: Job, backbone: Backbone, check: Callable[[], None]
) -> testing.Evaluator:
    """Opens the token tables, and builds the one decoder."""
    opened = token_tables.open_tables(job, backbone.vocabulary, check)
    predict = functools.partial(
        split_decoding.predict,
        split_decoding.make_decode(backbone, job.targets_length),
        backbone,
        batch_size=job.evaluation_batch_size,
        lengths=(job.inputs_length, job.targets_length),
        check=check,
    )
    return testing.Evaluator(predict, opened)
