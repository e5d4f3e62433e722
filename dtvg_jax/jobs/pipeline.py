"""A job: both stages over all lanes, tests and report, in one folder.

    job folder -> token tables -> stage 1 -> store -> stage 2 -> store -> results

Each part is skipped where the folder already holds what it makes, so an interrupted
job is resumed by running it again.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from dtvg_jax import files, report
from dtvg_jax.files import JsonObject
from dtvg_jax.inference import split_decoding
from dtvg_jax.jobs import (
    ceiling,
    choice,
    job_folder,
    lane_entries,
    measurements,
    plan,
    stage_inputs,
    taken_prompts,
    testing,
    token_tables,
)
from dtvg_jax.jobs.job import Job
from dtvg_jax.jobs.measurements import Compared, Tested
from dtvg_jax.jobs.stage_inputs import Prompt
from dtvg_jax.jobs.taken_prompts import Takes
from dtvg_jax.methods import Start, described
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.report import health
from dtvg_jax.report.records import Cost, JobFacts, Report, Results, SingleSource
from dtvg_jax.store import entries
from dtvg_jax.store.entries import Entry, Metadata
from dtvg_jax.store.prompt_store import PromptStore
from dtvg_jax.training import (
    hosts,
    loop,
    metrics_log,
    placement,
    profiling,
    programs,
)
from dtvg_jax.training.metrics_log import MetricsLog
from dtvg_jax.training.placement import Placement
from dtvg_jax.training.programs import trained_numbers
from dtvg_jax.training.runs import Run

Check = Callable[[], None]


class _Work(NamedTuple):
    job: Job
    backbone: Backbone
    placement: Placement
    folder: files.Path
    store: PromptStore
    p_init: dict[int, Prompt]  # by seed
    evaluator: testing.Evaluator
    log: MetricsLog
    taken: Takes
    profile: int | None

    @property
    def check(self) -> Check:
        """Is called between steps and batches, on all hosts alike; may raise."""
        return self.evaluator.setup.check


def run(
    job: Job,
    job_dir: str | os.PathLike[str],
    *,
    check: Check = lambda: None,
    config_gin: str = "",
    command: Sequence[str] = (),
    profile: int | None = None,
) -> Report:
    """Runs a job in a folder, or resumes it, and writes its report there.

    Args:
      job: the settings.
      job_dir: the job's folder; made if absent. The same call resumes the job.
      check: called between steps and batches; may raise `errors.Stopped`.
      config_gin: the settings as gin has them, kept in the folder's config.gin.
      command: the command line, kept in environment.json.
      profile: how many steps of each program are traced in the folder's profile/.

    Returns:
      The report: `results` and `summary`, as in results.json, and its plots.

    Raises:
      InputError: for missing data or backbone, and for a folder that another process
        holds, that has a job of other settings, or that cannot be written.
    """
    folder = files.expand(job_dir)
    with job_folder.locked(folder, check):
        job_folder.check_hosts(job)
        backbone, place = placement.load(
            job.backbone, job.dtype, job.mesh, job.cache_dir
        )
        taken = taken_prompts.of_job(job, folder)
        planned = _planned(job, backbone, taken)
        job_folder.check_plan(folder, planned)
        # All that can be wrong with the settings is found before the plan is written:
        # a corrected job may then use the same folder.
        p_init = stage_inputs.p_inits(job, backbone)
        store = PromptStore(folder / "store")
        fits = {seed: lane_entries.fit(backbone, p) for seed, p in p_init.items()}
        entries_taken = taken_prompts.read(job, taken, store, fits)
        evaluator = _evaluator(job, backbone, place, check, taken)
        mesh = placement.described(place, backbone.config, job.dtype)
        environment = job_folder.describe_environment(command) | {"mesh": mesh}
        job_folder.begin(folder, planned, evaluator.tables, config_gin, environment)
        _begin(store, p_init, entries_taken)
        with metrics_log.opened(folder) as log:
            work = _Work(
                job,
                backbone,
                place,
                folder,
                store,
                p_init,
                evaluator,
                log,
                taken,
                profile,
            )
            results = _run(work)
        report.save(folder, results)
        return report.write(folder)


def _planned(job: Job, backbone: Backbone, taken: Takes) -> JsonObject:
    facts: JsonObject = {
        "backbone_digest": backbone.digest,
        "vocabulary_digest": backbone.vocabulary.digest,
        "taken": taken_prompts.as_json(taken),
    }
    return job_folder.planned(job, taken, facts)


@hosts.written_once
def _begin(
    store: PromptStore, p_init: dict[int, Prompt], taken: Mapping[Run, Entry]
) -> None:
    """Puts into the store what no lane of the job makes."""
    store.remove_leftovers()
    for start in p_init.values():
        store.write_p_init(start)
    for entry in taken.values():
        store.write(entry.arrays, entry.metadata)


def _run(work: _Work) -> Results:
    """Learns and measures what is missing, and gathers all that was measured."""
    job, programs = work.job, plan.programs(work.job, work.taken)
    stage1 = [(one, _learn(work, one, ())) for one in programs if one.stage == 1]
    first = [_test(work, one, found) for one, found in stage1]
    compared = _compare_sources(work)
    singles = compared.single_source
    # A search compares programs, so all of stage 2 is learned before any is tested.
    learned = [(one, _learn(work, one, singles)) for one in programs if one.stage == 2]
    trials = choice.tried({run: m for _, found in learned for run, m in found.items()})
    left_out = {one.run for one in trials if not one.chosen}
    second = [_test(work, one, found, left_out) for one, found in learned]
    ceilings = ceiling.measure(job, work.evaluator, work.folder, work.check)
    seconds = [one.seconds for one in (*first, compared, *second)]
    return Results(
        job=_facts(
            work,
            {name: s for part in seconds for name, s in part.items()},
            _costs(work, second),
        ),
        rows=[row for part in (*first, *second) for row in part.rows],
        majority=testing.majority(
            plan.measured_tasks(job, work.taken), work.evaluator.tables
        ),
        single_source=singles,
        similarity=compared.similarity,
        log_digest=metrics_log.digest(work.folder),
        ceilings=ceilings,
        trials=trials,
        mixtures=[
            testing.mixture_row(metadata)
            for _, found in stage1
            for run, metadata in found.items()
            if run.task == job.mixture
        ],
    )


def _facts(work: _Work, seconds: dict[str, float], costs: dict[str, Cost]) -> JobFacts:
    """Says of the job what the report shows."""
    job = work.job
    used = plan.compared(job)
    given = job.resolved_methods() if job.targets else ()
    return JobFacts(
        backbone=work.backbone.name,
        backbone_digest=work.backbone.digest,
        prompt_length=job.prompt_length,
        data_dir=job.data_dir,
        seeds=list(job.seeds),
        sources=list(job.sources),
        targets=list(job.targets),
        methods=list(used),
        descriptions={name: described(method) for name, method in used.items()},
        method_settings={method.full_name: method.settings for method in given},
        seconds=seconds,
        taken=taken_prompts.as_json(work.taken),
        costs=costs,
    )


def _costs(work: _Work, tested: Sequence[Tested]) -> dict[str, Cost]:
    """Says what each method of stage 2 costs."""
    job, shape = work.job, next(iter(work.p_init.values())).shape
    step_of = {
        row.run.shown_method: one.lane_step for one in tested for row in one.rows
    }
    return {
        name: Cost(trained_numbers(method, len(job.sources), *shape), step_of.get(name))
        for name, method in plan.compared(job).items()
    }


def _learn(
    work: _Work, program: plan.Program, singles: Sequence[SingleSource]
) -> dict[Run, Metadata]:
    """Trains the lanes of a program and stores their prompts, if they are not there."""
    stored = set(work.store.names())
    needed = {str(entries.name_of(run)) for run in program.runs}
    there = hosts.agree(needed <= stored)
    trained = None if there else _train(work, program, singles)
    if trained is not None:
        for k, run in enumerate(program.runs):
            _store(work, run, trained, k)
    learned = {run: _read(work, run).metadata for run in program.runs}
    if trained is not None:
        seconds = {program.name: round(trained.seconds, 1)}
        measured = Tested([], seconds, trained.lane_step)
        digests = _digests(learned.values())
        measurements.write(work.folder, program.name, measured, digests)
    return learned


def _test(
    work: _Work,
    program: plan.Program,
    learned: Mapping[Run, Metadata],
    left_out: Collection[Run] = (),
) -> Tested:
    """Tests the stored prompts of a program, but for those that are left out.

    The prompt of the job's mixture is there to start from, and not tested.
    """
    mixture = work.job.mixture
    runs = [run for run in learned if run not in left_out and run.task != mixture]
    prompts = _digests(learned.values())
    found = measurements.read(work.folder, program.name, Tested, prompts)
    measured = found or Tested([], {})
    if measured.rows or not runs:
        return measured
    print(f"{program.name}  testing {len(runs)} prompts", flush=True)
    start = time.monotonic()
    rows = testing.test(
        runs,
        [_read(work, run) for run in runs],
        work.evaluator,
        work.folder,
        work.job.sources,
    )
    tests = {f"tests of {program.name}": round(time.monotonic() - start, 1)}
    records = metrics_log.read(work.folder / metrics_log.FILE)
    for problem in health.problems(rows, records):
        print(f"{program.name}  {health.sentence(problem)}", flush=True)
    measured = Tested(rows, {**measured.seconds, **tests}, measured.lane_step)
    measurements.write(work.folder, program.name, measured, prompts)
    return measured


def _train(
    work: _Work, program: plan.Program, singles: Sequence[SingleSource]
) -> loop.Trained:
    job, lanes = work.job, program.lanes
    if program.stage == 1:
        context = stage_inputs.first(work.p_init, lanes)
    else:
        context = stage_inputs.second(
            job, work.p_init, program, lambda run: _read(work, run), singles
        )
    tasks = [run.task for run in program.runs]
    tables = work.evaluator.tables
    training = programs.Training(
        name=program.name,
        method=program.method,
        stage=plan.stage_of(job, program),
        lanes=lanes,
        context=context,
        tables=[token_tables.training_rows(job, tables, run) for run in program.runs],
        sources=job.sources if program.stage == 2 else (),
        halve_at=job.search.halve_at if job.search and program.stage == 2 else (),
    )
    traces = work.folder / "profile" / program.name
    with profiling.traced(work.check, traces, work.profile) as check:
        return loop.train(
            training=training,
            backbone=work.backbone,
            validate=lambda prompts, due: work.evaluator.scores(
                prompts, [(k, tasks[k]) for k in due], "validation"
            ),
            folder=work.folder / "checkpoints" / program.name,
            log=work.log,
            placement=work.placement,
            check=check,
        )


def _compare_sources(work: _Work) -> Compared:
    """Measures stage 1: similarities, and sources' prompts on every target."""
    job, part = work.job, measurements.SOURCES
    entries_read = {
        (task, seed): _read(work, plan.stage1_run(task, seed))
        for task in plan.tasks(job)
        for seed in job.seeds
    }
    digests = _digests(entry.metadata for entry in entries_read.values())
    measured = measurements.read(work.folder, part, Compared, digests)
    if measured is not None:
        return measured
    learned = {key: entry.arrays for key, entry in entries_read.items()}
    print("stage1  trying sources' prompts on every target", flush=True)
    start = time.monotonic()
    # A store may hold hundreds: those are tried only where a method chooses by it.
    chosen = any(m.start == Start.BEST_VALIDATED_SOURCE for m in job.resolved_methods())
    prompts = {
        (task, seed): arrays["prompt"]
        for (task, seed), arrays in learned.items()
        if chosen or plan.stage1_run(task, seed) not in work.taken
    }
    singles = testing.single_sources(job, prompts, work.evaluator)
    similarity = {
        f"seed{seed}": testing.similarity(
            plan.tasks(job), [learned[task, seed]["tpv"] for task in plan.tasks(job)]
        )
        for seed in job.seeds
    }
    seconds = {"single sources": round(time.monotonic() - start, 1)}
    measured = Compared(singles, similarity, seconds)
    measurements.write(work.folder, part, measured, digests)
    return measured


@hosts.written_once
def _store(work: _Work, run: Run, trained: loop.Trained, k: int) -> None:
    p_init = work.p_init[run.seed]
    fit = lane_entries.fit(work.backbone, p_init)
    tables = work.evaluator.tables
    metadata = lane_entries.metadata(work.job, run, trained, k, tables, fit)
    work.store.write(
        lane_entries.arrays(plan.method_of(work.job, run), trained, k, p_init),
        dataclasses.replace(metadata, backbone=work.backbone.name),
    )


def _read(work: _Work, run: Run) -> Entry:
    fit = lane_entries.fit(work.backbone, work.p_init[run.seed])
    if run in work.taken:
        fit = taken_prompts.fit(work.job, fit)
        return work.store.read(work.taken[run].entry, fit)
    return work.store.read(str(entries.name_of(run)), fit)


def _digests(learned: Iterable[Metadata]) -> dict[str, str]:
    """Gives the digests of prompts by the names of their entries."""
    return {str(one.name): one.prompt_digest for one in learned}


def _evaluator(
    job: Job, backbone: Backbone, place: Placement, check: Check, taken: Takes
) -> testing.Evaluator:
    """Opens the token tables, and builds the one decoder."""
    return testing.Evaluator(
        decode=split_decoding.make_decode(backbone),
        setup=split_decoding.Setup(
            backbone, place, job.evaluation_batch_size, hosts.together(check)
        ),
        tables=token_tables.open_tables(job, backbone.vocabulary, check, taken),
        parts=lambda name: token_tables.parts(job, name),
    )
