"""Command: test stored prompts on task splits.

python -m dtvg_jax.evaluate --store=jobs/quickstart/store --out=DIR

Every prompt is tested on its own task; --tasks=rte,mrpc takes some tasks, --matrix
tries every prompt on all of them. --scoring=rank compares the labels instead of
decoding.
"""

import json
import sys

from absl import flags
from rich.console import Console
from rich.table import Table

from dtvg_jax.cli import app
from dtvg_jax.errors import InputError
from dtvg_jax.formats.load import load_backbone
from dtvg_jax.inference import stored_prompts
from dtvg_jax.store import prompt_store

STORE = flags.DEFINE_string("store", None, "Folder of the learned prompts.")
OUT = flags.DEFINE_string("out", None, "Folder of the answers and scores.")
BACKBONE = flags.DEFINE_string("backbone", "miniature", "The prompts' model.")
DTYPE = flags.DEFINE_string("dtype", "float32", "float32 or bfloat16.")
DATA_DIR = flags.DEFINE_string("tfds_data_dir", "miniature", "Prepared TFDS data.")
CACHE_DIR = flags.DEFINE_string("cache_dir", "~/.cache/dtvg_jax", "Token tables.")
TASKS_MODULE = flags.DEFINE_string("tasks_module", "tasks.all", "Of tasks of your own.")
PROMPTS = flags.DEFINE_list("prompts", [], "Entries; all if none is named.")
TASKS = flags.DEFINE_list("tasks", [], "Tasks; the prompts' own if none is named.")
MATRIX = flags.DEFINE_bool("matrix", False, "Try every prompt on every task.")
SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Rows.")
SCORING = flags.DEFINE_enum(
    "scoring", "greedy", list(stored_prompts.Scoring), "Decode or compare."
)
ROWS = flags.DEFINE_integer("rows", None, "Only the first rows of each split.", 1)
BATCH = flags.DEFINE_integer("batch_size", 32, "Rows that share a prompt.", 1)


def main(command: list[str], check: app.Check) -> None:
    """Reads the prompts, tests them, and prints the scores."""
    del command
    if STORE.value is None or OUT.value is None:
        raise InputError("give --store=DIR and --out=DIR")
    app.cache_compilations(CACHE_DIR.value)
    settings = stored_prompts.EvaluateSettings(
        prompts=PROMPTS.value,
        tasks=TASKS.value,
        matrix=MATRIX.value,
        split=SPLIT.value,
        scoring=stored_prompts.Scoring(SCORING.value),
        rows=ROWS.value,
        batch_size=BATCH.value,
        data_dir=DATA_DIR.value,
        tasks_module=TASKS_MODULE.value,
        cache_dir=CACHE_DIR.value,
    )
    rows = stored_prompts.evaluate(
        load_backbone(BACKBONE.value, DTYPE.value),
        prompt_store.PromptStore(STORE.value),
        OUT.value,
        settings,
        check,
    )
    _print(rows)


def _print(results: list[stored_prompts.TrialResult]) -> None:
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


def run() -> None:
    """Entry point."""
    app.run(main, sys.argv)


if __name__ == "__main__":
    run()
