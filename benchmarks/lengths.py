"""Trains on rows of real lengths, against PyTorch with PEFT on the same rows.

    python -m benchmarks.lengths --data_dir=DIR --vocabulary=DIR --peer_python=PYTHON
        [--cases=sst2-20,mix-100] [--rows=2000] [--rounds=3]

T5-small's shapes with random weights, float32, dropout on, batches of 16. Ours is
training.loop.train with the defaults of a job: an epoch is trained before the one that
is timed, and later rounds have all programs in JAX's cache. What the timed epoch still
compiles, or reads from the cache, is in its time and shown as "compiling". PyTorch pads
to the longest row of each batch. A case is a task, or `mix`, four tasks as lanes of one
program against four runs, and the prompt's length. --rows are those of a task; an epoch
of sst2 and of qnli has 2,000 stored rows, other tables are repeated or cut.

Prints JSON: per case the medians of both sides in alternating fresh processes, and the
share of real tokens among padded ones. A step takes half a second or more on each side;
--rows=128 --cases=sst2-20 --rounds=1 shows in two minutes that everything works.
"""

import argparse
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax import monitoring

from benchmarks import models, rows, sides
from benchmarks.sides import Clock
from dtvg_jax.cli.quiet_imports import quiet_libraries
from dtvg_jax.data import microbatches, token_table
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.files import JsonObject
from dtvg_jax.jobs import job, plan, stage_inputs, token_tables
from dtvg_jax.methods import METHODS, initial_prompt
from dtvg_jax.models.backbone import Backbone, Config
from dtvg_jax.training import loop, metrics_log, placement, programs
from dtvg_jax.training.runs import Lane
from dtvg_jax.training.stages import Stage

MIX = ("sst2", "qnli", "mrpc", "squad")
CASES = [f"{name}-{length}" for name in ("sst2", "qnli", "mix") for length in (20, 100)]
BATCH, SEED = 16, 42
COMPILE = "/jax/core/compile/"  # tracing, lowering, compiling, in JAX's events


class Case(NamedTuple):
    """What both sides train: lanes of tasks, and how many steps are timed."""

    tasks: tuple[str, ...]
    prompt_length: int
    steps: int


def parse(name: str, row_count: int) -> Case:
    """Reads a name such as "mix-100"."""
    task, _, length = name.rpartition("-")
    tasks = MIX if task == "mix" else (task,)
    return Case(tasks, int(length), row_count // BATCH)


def tables(
    case: Case, backbone: Backbone, data_dir: str, cache: str
) -> list[TokenTable]:
    """Opens the training rows of each lane, with the lengths of a job's defaults."""
    stage = Stage(steps=1, learning_rate=0.3, warmup=0)
    defaults = job.Job("", list(case.tasks), [], stage, stage)
    return [
        token_table.token_table(
            task,
            "train",
            token_table.TableSettings(
                vocabulary=backbone.vocabulary,
                lengths=token_tables.lengths(defaults, task),
                cache_dir=cache,
                tfds_data_dir=data_dir,
            ),
        )
        for task in case.tasks
    ]


def training_of(
    case: Case, backbone: Backbone, opened: Sequence[TokenTable]
) -> programs.Training:
    """Describes the lanes to the training loop: an epoch to warm up, one to time."""
    steps = 2 * case.steps
    rates = {"prompt": 0.3}
    lanes = [Lane(plan.stage1_run(task, SEED), steps, 0, rates) for task in case.tasks]
    embedding = backbone.embedding(backbone.params)
    p_init = {SEED: initial_prompt.p_init(embedding, case.prompt_length, SEED)}
    return programs.Training(
        name="lengths",
        method=METHODS["prompt_tuning"],
        stage=Stage(
            steps=steps, learning_rate=0.3, warmup=0, validate_every=case.steps
        ),
        lanes=lanes,
        context=stage_inputs.first(p_init, lanes),
        tables=opened,
        sources=(),
    )


def padding(
    case: Case,
    training: programs.Training,
    opened: Sequence[TokenTable],
    config: Config,
    place: placement.Placement,
) -> JsonObject:
    """Counts the input tokens of the timed steps, and the positions that hold them."""
    streams = training.streams
    cut = programs.choose_cut(streams, BATCH, config, case.prompt_length, place)
    lanes = range(len(case.tasks))
    made = [
        one.inputs
        for step in timed_steps(case)
        for one in microbatches.make(streams, lanes, step, BATCH, cut)
    ]
    real = [rows.of_steps(table, SEED, timed_steps(case), BATCH)[0] for table in opened]
    return {
        "real": sum(len(ids) for inputs in real for ids in inputs),
        "positions": sum(inputs.size for inputs in made),
        "buckets": [list(bucket) for bucket in cut.buckets],
    }


def timed_steps(case: Case) -> range:
    """Gives the numbers of the steps that are timed."""
    return range(case.steps, 2 * case.steps)


def train(case: Case, vocabulary: pathlib.Path, data_dir: str, cache: str) -> None:
    """Trains in this process, times the second epoch, and prints JSON."""
    backbone = models.random_backbone(models.T5_SMALL, vocabulary)
    opened = tables(case, backbone, data_dir, cache)
    training = training_of(case, backbone, opened)
    place = placement.make()
    clocks: list[Clock] = []
    found: JsonObject = {}
    compiling: list[float] = []

    def count_compilation(event: str, duration_secs: float, **_: str | int) -> None:
        if COMPILE in event:
            compiling.append(duration_secs)

    monitoring.register_event_duration_secs_listener(count_compilation)

    def validate(prompts: loop.Prompts, due: Sequence[int]) -> loop.Scores:
        jax.block_until_ready(prompts)
        if clocks:
            found.update(clocks[0].read())
            found["compiling"] = round(sum(compiling), 3)
        compiling.clear()
        clocks.append(Clock())
        return [{"mean": 0.0} for _ in due]

    with tempfile.TemporaryDirectory() as folder, metrics_log.MetricsLog(folder) as log:
        checkpoints = pathlib.Path(folder, "checkpoints")
        check = lambda: None
        loop.train(training, backbone, validate, checkpoints, log, place, check)
    found |= padding(case, training, opened, backbone.config, place)
    print(json.dumps(found | {"versions": sides.versions("jax", "jaxlib")}))


def compare(case: Case, flags: argparse.Namespace, cache: str) -> JsonObject:
    """Runs both sides in alternation."""
    backbone = models.random_backbone(models.T5_SMALL, flags.vocabulary)
    opened = tables(case, backbone, flags.data_dir, cache)
    of_peer = []
    for task, table in zip(case.tasks, opened, strict=True):
        path = pathlib.Path(cache) / f"{task}.npz"
        rows.write(path, *rows.of_steps(table, SEED, timed_steps(case), BATCH))
        length = f"--prompt_length={case.prompt_length}"
        of_peer.append(
            sides.peer(flags.peer_python, "t5_training.py", str(path), length)
        )
    mine = sides.ours(
        "benchmarks.lengths",
        f"--side={json.dumps(case)}",
        f"--data_dir={flags.data_dir}",
        f"--vocabulary={flags.vocabulary}",
        f"--cache_dir={cache}",
        cache_dir=f"{cache}/xla",
    )
    found = sides.alternate({"ours": [mine], "peer": of_peer}, flags.rounds)
    last = {name: results[-1] for name, results in found.items()}
    about: JsonObject = {
        "steps": case.steps,
        "median_input": float(
            np.median(np.concatenate([table.input_lengths for table in opened]))
        ),
        "real_of_padded": {
            name: round(one.numbers["real"] / one.numbers["positions"], 3)
            for name, one in last.items()
        },
        "last": {name: one._asdict() for name, one in last.items()},
    }
    return about | sides.ratios(found, "ours", "peer")


def main() -> None:
    """Compares and prints, or is one side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", required=True, help="prepared TFDS data")
    parser.add_argument("--vocabulary", required=True, type=pathlib.Path)
    parser.add_argument("--peer_python", help="a Python with the extra bench")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--cache_dir", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    quiet_libraries()
    if flags.side:
        tasks, *numbers = json.loads(flags.side)
        case = Case(tuple(tasks), *numbers)
        train(case, flags.vocabulary, flags.data_dir, flags.cache_dir)
        return
    if not flags.peer_python:
        parser.error("--peer_python is required")
    results = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in flags.cases.split(","):
            results[name] = compare(parse(name, flags.rows), flags, cache)
            print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
