"""Command: test stored prompts on task splits.

python -m dtvg_jax.evaluate --store=jobs/quickstart/store --out=DIR

Every prompt is tested on its own task; --tasks=rte,mrpc takes some tasks, --matrix
tries every prompt on all of them. --scoring=rank compares the labels instead of
decoding.
"""

import json
import pathlib
import sys

from absl import flags
from rich.console import Console
from rich.table import Table

from dtvg_jax import cli, plan, store, trials
from dtvg_jax.data import prepared, token_table
from dtvg_jax.errors import InputError
from dtvg_jax.formats.load import load_backbone

STORE = flags.DEFINE_string("store", None, "Folder of the learned prompts.")
OUT = flags.DEFINE_string("out", None, "Folder of the answers and scores.")
BACKBONE = flags.DEFINE_string("backbone", "miniature", "The prompts' model.")
DTYPE = flags.DEFINE_string("dtype", "float32", "float32 or bfloat16.")
DATA_DIR = flags.DEFINE_string("data_dir", "miniature", "Prepared TFDS data.")
CACHE_DIR = flags.DEFINE_string("cache_dir", "~/.cache/dtvg_jax", "Token tables.")
PROMPTS = flags.DEFINE_list("prompts", [], "Entries; all if none is named.")
TASKS = flags.DEFINE_list("tasks", [], "Tasks; the prompts' own if none is named.")
MATRIX = flags.DEFINE_bool("matrix", False, "Try every prompt on every task.")
SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Rows.")
SCORING = flags.DEFINE_enum("scoring", "greedy", trials.SCORINGS, "Decode or compare.")
ROWS = flags.DEFINE_integer("rows", None, "Only the first rows of each split.", 1)
BATCH = flags.DEFINE_integer("batch_size", 32, "Rows that share a prompt.", 1)


def main(command: list[str], check: cli.Check) -> None:
    """Reads the prompts, tests them, and prints the scores."""
    del command
    if STORE.value is None or OUT.value is None:
        raise InputError("give --store=DIR and --out=DIR")
    cli.cache_compilations(CACHE_DIR.value)
    backbone = load_backbone(BACKBONE.value, DTYPE.value)
    prompt_store = store.PromptStore(STORE.value)
    names = PROMPTS.value or prompt_store.names()
    if not names:
        raise InputError(
            f"{STORE.value} holds no learned prompts: give another --store"
        )
    fits = {
        "backbone_digest": backbone.digest,
        "vocabulary_digest": backbone.vocabulary.digest,
    }
    entries = {name: prompt_store.read(name, **fits) for name in names}
    passport = _shared(entries)
    planned = trials.plan_trials(
        names, list(entries.values()), TASKS.value, MATRIX.value
    )
    for trial in planned:
        plan.check_task(trial.task)
    cache = pathlib.Path(CACHE_DIR.value).expanduser()
    data_dir = prepared.folder(DATA_DIR.value, cache)
    tables = {
        task: token_table.head(
            token_table.token_table(
                task,
                SPLIT.value,
                label_style=passport["label_style"],
                vocabulary=backbone.vocabulary,
                lengths=passport["lengths"],
                tfds_data_dir=data_dir,
                cache_dir=cache / "token_tables",
            ),
            ROWS.value,
        )
        for task in dict.fromkeys(trial.task for trial in planned)
    }
    rows = trials.run_trials(
        planned,
        entries,
        tables,
        backbone,
        pathlib.Path(OUT.value),
        scoring_by=SCORING.value,
        label_style=passport["label_style"],
        batch_size=BATCH.value,
        lengths=passport["lengths"],
        check=check,
    )
    store.write_json(pathlib.Path(OUT.value) / "results.json", {"rows": rows})
    _print(rows)


def _shared(entries: dict[str, store.Entry]) -> dict:
    """Gives what all prompts must have in common to be tested in one program."""
    found = {}
    for name, entry in entries.items():
        for field in ("prompt_length", "label_style", "lengths"):
            value = entry.passport.get(field)
            if value is None:
                raise InputError(f"{name} does not say its {field}: test it in a job")
            first, before = found.setdefault(field, (name, value))
            if value != before:
                raise InputError(
                    f"{field} of {name} is {value}, of {first} {before}: test them "
                    "apart"
                )
    shared = {field: value for field, (_, value) in found.items()}
    return shared | {"lengths": tuple(shared["lengths"])}


def _print(rows: list[trials.Json]) -> None:
    table = Table(box=None)
    for column in ("prompt", "task", "metric"):
        table.add_column(column, overflow="fold")
    for column in ("score", "examples"):
        table.add_column(column, justify="right")
    for row in rows:
        metric = row["headline"]
        score = f"{row['metrics'][metric]:.2f}"
        table.add_row(row["entry"], row["task"], metric, score, str(row["examples"]))
    Console(highlight=False).print(table)
    print(json.dumps({"mean": _mean(rows), "rows": len(rows)}))


def _mean(rows: list[trials.Json]) -> float:
    return round(sum(row["metrics"]["mean"] for row in rows) / len(rows), 4)


def run() -> None:
    """Entry point."""
    cli.run(main, sys.argv)


if __name__ == "__main__":
    run()
