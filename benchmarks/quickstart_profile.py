"""Profiles the quick start's training and validation.

    python -m benchmarks.quickstart_profile [--steps=20] [--backbone=DIR]

Times, for stage 1 of gin/runs/quickstart.gin on its own data: making a batch, a
training step and a validation; and sums the device time of the step and of the
validation by kind of operation, from JAX's own trace. Memory is set as the commands set
it. Takes two minutes on two cores.
"""

import argparse
import collections
import dataclasses
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dtvg_jax.cli import host_settings
from dtvg_jax.data import microbatches
from dtvg_jax.formats.load import load_backbone
from dtvg_jax.inference import split_decoding
from dtvg_jax.jobs import job, plan, stage_inputs, token_tables
from dtvg_jax.methods import METHODS, initial_prompt
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.training import lanes, optimisers, placement, programs
from dtvg_jax.training import step as train_step
from dtvg_jax.training.stages import Stage

QUICKSTART = job.Job(  # as gin/runs/quickstart.gin
    backbone="miniature",
    sources=["mnli", "qnli", "qqp", "sst2", "superglue-record", "squad"],
    targets=["rte", "mrpc", "cola", "superglue-boolq", "superglue-cb", "superglue-wic"],
    stage1=Stage(steps=200, learning_rate=0.2, warmup=0, validate_every=100),
    stage2=Stage(steps=100, learning_rate=0.2, warmup=0, validate_every=50),
    seeds=[0, 1, 2],
    prompt_length=16,
    inputs_length=32,
    targets_length=2,
    evaluation_batch_size=64,
)


def training(
    settings: job.Job, backbone: Backbone, opened: token_tables.Tables
) -> tuple[Callable[[], None], Callable[[int], list[microbatches.Rows]]]:
    """Makes `step()`, which trains all lanes on one batch, and `batch(i)`."""
    program = plan.programs(settings)[0]
    stage, count = settings.stage1, len(program.lanes)
    embedding = backbone.embedding(backbone.params)
    p_init = {
        seed: initial_prompt.p_init(embedding, settings.prompt_length, seed)
        for seed in settings.seeds
    }
    context = stage_inputs.first(p_init, program.lanes)
    optimiser = optimisers.by_name(stage.optimiser_in(1))
    method = METHODS["prompt_tuning"]
    rates = optimisers.Rates(
        peak={"prompt": jnp.full(count, stage.learning_rate)},
        warmup=jnp.full(count, stage.warmup),
        steps=jnp.full(count, stage.steps),
    )
    fixed = lanes.Fixed(context, rates, jax.random.key(0))
    step_fn = train_step.make_step(backbone, method, optimiser, dropout=False)
    streams = [
        microbatches.Stream(opened[lane.run.task, "train"], lane.run.seed)
        for lane in program.lanes
    ]
    size, length = stage.batch_size, settings.prompt_length
    place = placement.make()
    cut = programs.choose_cut(streams, size, backbone.config, length, place)

    def batch(i: int) -> list[microbatches.Rows]:
        return microbatches.make(streams, range(count), i, size, cut)

    carried = [lanes.init(method, optimiser, context)]
    fed = [train_step.Rows(*jax.device_put(tuple(rows))) for rows in batch(0)]

    def step() -> None:
        carried[0], metrics = step_fn(carried[0], backbone.params, fixed, fed)
        jax.block_until_ready(metrics["loss"])

    return step, batch


def answering(
    settings: job.Job, backbone: Backbone, opened: token_tables.Tables
) -> tuple[Callable[[], None], int]:
    """Makes `answer()`, one validation of all lanes; returns it and its row count."""
    lanes_of = plan.programs(settings)[0].lanes
    embedding = backbone.embedding(backbone.params)
    start = initial_prompt.p_init(embedding, settings.prompt_length, 0)
    pairs = [
        split_decoding.Pair(k, opened[lane.run.task, "validation"])
        for k, lane in enumerate(lanes_of)
    ]
    decode = split_decoding.make_decode(backbone)
    setup = split_decoding.Setup(
        backbone,
        placement.make(),
        settings.evaluation_batch_size,
    )
    stacked = Prompts(jnp.stack([jnp.asarray(start)] * len(lanes_of)))

    def answer() -> None:
        split_decoding.predict(decode, setup, stacked, pairs)

    return answer, sum(len(pair.table) for pair in pairs)


def by_kind(run: Callable[[], None]) -> dict[str, float]:
    """Traces a call and returns the share of device time by kind of operation, in %."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        [file] = pathlib.Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(file))
    times: collections.Counter[str] = collections.Counter()
    for plane in data.planes:
        for line in plane.lines:
            for event in line.events:
                stats = dict(event.stats)
                if "hlo_op" in stats:
                    kind = str(event.name).split(".")[0].rstrip("0123456789")
                    times[kind] += event.duration_ns
    total = sum(times.values())
    return {kind: round(100 * t / total, 1) for kind, t in times.most_common(8)}


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Returns the median seconds of a call, after one that compiles."""
    call()
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return sorted(found)[len(found) // 2]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--backbone", default="miniature")
    args = parser.parse_args()
    host_settings.apply(sys.argv)
    settings = dataclasses.replace(QUICKSTART, backbone=args.backbone)
    backbone = load_backbone(settings.backbone)
    opened = token_tables.open_tables(settings, backbone.vocabulary, lambda: None)
    step, batch = training(settings, backbone, opened)
    answer, rows = answering(settings, backbone, opened)
    step_seconds = seconds(step, args.steps)
    batch_seconds = seconds(lambda: batch(7), args.steps)
    answer_seconds = seconds(answer, 2)
    print(f"a training step of 36 lanes of 16 rows   {1e3 * step_seconds:8.1f} ms")
    print(f"making its batch, on another thread      {1e3 * batch_seconds:8.1f} ms")
    print(f"a validation of {rows:,} rows            {answer_seconds:8.1f} s")
    total = 200 * step_seconds + 2 * answer_seconds
    share = 100 * 200 * step_seconds / total
    print(
        f"stage 1: 200 steps and 2 validations     {total:8.1f} s, steps {share:.0f} %"
    )
    print("device time of a step by operation, %:", by_kind(step))
    print("device time of a validation, %:", by_kind(answer))


if __name__ == "__main__":
    main()
