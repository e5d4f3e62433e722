"""python -m dtvg_jax.evaluate --store=jobs/quickstart/store --out=DIR

Tests stored prompts on splits of tasks. Every prompt is tested on its own task;
--tasks=rte,mrpc picks the tasks, --matrix tests every prompt on all of them.
--scoring=rank compares the likelihood of the labels instead of decoding.
"""

import json
import sys
from typing import TYPE_CHECKING, cast

from absl import flags

from dtvg_jax.cli import (
    command,
    compilation_cache,
    model_flags,
    processes,
    signals,
)

if TYPE_CHECKING:
    from dtvg_jax.inference.stored_prompts import TrialResult

FLAGS = flags.FlagValues()
STORE = flags.DEFINE_string(
    "store", None, "Folder of the prompt store. Required.", FLAGS, required=True
)
OUT = flags.DEFINE_string(
    "out", None, "Folder for predictions and scores. Required.", FLAGS, required=True
)
MODEL = model_flags.define(FLAGS)
processes.define_flags(FLAGS)
DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir",
    "miniature",
    "Folder of prepared TFDS data; miniature: the generated data.",
    FLAGS,
)
TASKS_MODULE = flags.DEFINE_string(
    "tasks_module", "tasks.all", "Python module that registers the tasks.", FLAGS
)
PROMPTS = flags.DEFINE_list(
    "prompts", [], "Entries of the store; all by default.", FLAGS
)
TASKS = flags.DEFINE_list("tasks", [], "Tasks; each prompt's own by default.", FLAGS)
MATRIX = flags.DEFINE_bool("matrix", False, "Test every prompt on every task.", FLAGS)
SPLIT = flags.DEFINE_enum(
    "split", "test", ["train", "validation", "test"], "Which rows.", FLAGS
)
SCORING = model_flags.define_scoring(FLAGS)
ROWS = flags.DEFINE_integer(
    "rows", None, "Only the first rows of each split; all by default.", 1, None, FLAGS
)


def main(words: list[str], received: signals.Signals) -> None:
    """Reads the prompts, tests them, and prints the scores."""
    # After the flags, so that --help and a misspelt flag need not wait for JAX.
    from dtvg_jax.inference import ranking, stored_prompts
    from dtvg_jax.store.prompt_store import PromptStore
    from dtvg_jax.training import placement

    processes.start(FLAGS)
    compilation_cache.enable(MODEL.cache_dir.value)
    settings = stored_prompts.EvaluateSettings(
        prompts=PROMPTS.value,
        tasks=TASKS.value,
        matrix=MATRIX.value,
        split=cast("stored_prompts.Split", SPLIT.value),
        scoring=ranking.Scoring(SCORING.value),
        rows=ROWS.value,
        batch_size=MODEL.batch_size.value,
        data_dir=DATA_DIR.value,
        tasks_module=TASKS_MODULE.value,
        cache_dir=MODEL.cache_dir.value,
    )
    learned = PromptStore(STORE.value)
    command.say_strays(learned.strays())
    backbone, _ = placement.load(
        MODEL.backbone.value, MODEL.dtype.value, cache_dir=MODEL.cache_dir.value
    )
    results = stored_prompts.evaluate(backbone, learned, OUT.value, settings)
    _print(results)


def _print(results: "list[TrialResult]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for column in ("prompt", "task", "metric"):
        table.add_column(column, overflow="fold")
    for column in ("score", "examples"):
        table.add_column(column, justify="right")
    for result in results:
        metric = result.primary_metric
        score = f"{result.metrics[metric]:.2f}"
        table.add_row(result.entry, result.task, metric, score, str(result.examples))
    Console(highlight=False).print(table)
    mean = sum(result.metrics["mean"] for result in results) / len(results)
    print(json.dumps({"mean": round(mean, 4), "rows": len(results)}))


COMMAND = command.Command(__doc__ or "", FLAGS, main)


def run() -> None:
    """Runs the command with the arguments of this process."""
    command.run(COMMAND, sys.argv)


if __name__ == "__main__":
    run()
