"""Stored prompts on task splits: many prompts and tasks in one program."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dtvg_jax import files
from dtvg_jax.data import catalogue, prepared, scoring, token_table
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import InputError
from dtvg_jax.inference import predictions, split_decoding
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.store import prompt_store

Json = dict[str, Any]
SCORINGS = ("greedy", "rank")


class Trial(NamedTuple):
    """A stored prompt, by the name of its entry, and the task it is tried on."""

    entry: str
    task: str


def evaluate(
    backbone: Backbone,
    prompt_store: prompt_store.PromptStore,
    out: str | os.PathLike[str],
    *,
    prompts: Sequence[str] = (),
    tasks: Sequence[str] = (),
    matrix: bool = False,
    split: str = "test",
    scoring_by: str = "greedy",
    rows: int | None = None,
    batch_size: int = 32,
    data_dir: str = prepared.MINIATURE,
    tasks_module: str = "tasks.all",
    cache_dir: str = "~/.cache/dtvg_jax",
    check: Callable[[], None] = lambda: None,
) -> list[Json]:
    """Tests stored prompts on task splits, in one program.

    Args:
      backbone: the one that the prompts were learnt on.
      prompt_store: where they are.
      out: a folder for predictions/ and results.json.
      prompts: entries; all if none is named.
      tasks: tried by the prompts of the same task; the prompts' own if none is named.
      matrix: try every prompt on every task.
      split: "train", "validation" or "test".
      scoring_by: "greedy" decodes, "rank" compares the labels of the task.
      rows: only the first ones of each split.
      batch_size: rows that share a prompt.
      data_dir: prepared TFDS data, or "miniature".
      tasks_module: registers the tasks that are not in the catalogue.
      cache_dir: of token tables.
      check: called between batches; may raise to stop.

    Returns:
      A row per prompt and task, as in results.json: entry, task, metrics, predictions.

    Raises:
      InputError: for prompts that do not fit, unknown tasks, missing data.
    """
    names = list(prompts) or prompt_store.names()
    if not names:
        raise InputError(f"{prompt_store.folder} holds no learned prompts")
    fits = {
        "backbone_digest": backbone.digest,
        "vocabulary_digest": backbone.vocabulary.digest,
    }
    entries = {name: prompt_store.read(name, **fits) for name in names}
    passport = _shared(entries)
    planned = plan_trials(names, list(entries.values()), tasks, matrix)
    wanted = list(dict.fromkeys(trial.task for trial in planned))
    for task in wanted:
        catalogue.check_task(task, tasks_module)
    cache = pathlib.Path(cache_dir).expanduser()
    known = catalogue.known()
    builders = [known[task].builder for task in wanted if task in known]
    settings = token_table.TableSettings(
        vocabulary=backbone.vocabulary,
        lengths=passport["lengths"],
        cache_dir=cache / "token_tables",
        tfds_data_dir=prepared.folder(data_dir, cache, builders),
        label_style=passport["label_style"],
        tasks_module=tasks_module,
    )
    open_table = lambda task: token_table.token_table(task, split, settings)
    found = run_trials(
        planned,
        entries,
        {task: token_table.head(open_table(task), rows) for task in wanted},
        backbone,
        pathlib.Path(out),
        scoring_by=scoring_by,
        label_style=passport["label_style"],
        batch_size=batch_size,
        lengths=passport["lengths"],
        check=check,
    )
    files.write_json(pathlib.Path(out) / "results.json", {"rows": found})
    return found


def plan_trials(
    names: Sequence[str],
    entries: Sequence[prompt_store.Entry],
    tasks: Sequence[str],
    matrix: bool,
) -> list[Trial]:
    """Pairs prompts with tasks: each with its own, or with `matrix` each with all.

    `tasks` may be empty: the prompts' own are taken then.
    """
    own = [entry.passport["task"] for entry in entries]
    wanted = list(tasks) or list(dict.fromkeys(own))
    found = [
        Trial(name, task)
        for name, mine in zip(names, own, strict=True)
        for task in wanted
        if matrix or task == mine
    ]
    if not found:
        raise InputError(
            f"none of the prompts was learnt for {', '.join(wanted)}: their tasks are "
            f"{', '.join(dict.fromkeys(own))}; --matrix tries each prompt on each task"
        )
    return found


def run_trials(
    trials: Sequence[Trial],
    entries: dict[str, prompt_store.Entry],
    tables: dict[str, TokenTable],
    backbone: Backbone,
    out: pathlib.Path,
    *,
    scoring_by: str,
    label_style: str,
    batch_size: int,
    lengths: tuple[int, int],
    check: Callable[[], None] = lambda: None,
) -> list[Json]:
    """Answers, writes predictions/ in `out`, and returns a row of scores per trial."""
    names = list(entries)
    prompts = np.stack([entries[name].arrays["prompt"] for name in names])
    pairs = [split_decoding.Pair(names.index(t.entry), tables[t.task]) for t in trials]
    settings = {"batch_size": batch_size, "lengths": lengths, "check": check}
    answer = _greedy if scoring_by == "greedy" else _ranked
    answers = answer(backbone, prompts, pairs, label_style, settings)
    rows = []
    for trial, pair, given in zip(trials, pairs, answers, strict=True):
        file = f"predictions/{trial.entry.replace('/', '-')}-on-{trial.task}.jsonl"
        predictions.write_predictions(out / file, pair.table, given)
        rows.append(
            {
                **trial._asdict(),
                "split": pair.table.split,
                "examples": len(pair.table),
                "metrics": scoring.score(pair.table, given),
                "headline": (pair.table.metadata.scoring.metric_names or ["mean"])[0],
                "predictions": file,
            }
        )
    return rows


def label_texts(task: str, label_style: str) -> list[str]:
    """Lists the label texts of a task; raises InputError where answers are free."""
    info = catalogue.known().get(task)
    if info is None or info.labels is None:
        raise InputError(
            f"the answers of {task} are no fixed labels, so they cannot be ranked: use "
            "--scoring=greedy"
        )
    digits = [str(number) for number in range(len(info.labels))]
    return list(info.labels) if label_style == "words" else digits


def _greedy(backbone, prompts, pairs, label_style, settings) -> list[list[str]]:
    del label_style
    decode = split_decoding.make_decode(backbone, settings["lengths"][1])
    return split_decoding.predict(decode, backbone, prompts, pairs, **settings)


def _ranked(backbone, prompts, pairs, label_style, settings) -> list[list[str]]:
    labels = [label_texts(pair.table.name, label_style) for pair in pairs]
    scores = split_decoding.rank(
        split_decoding.make_rank(backbone), backbone, prompts, pairs, labels, **settings
    )
    return [
        [texts[best] for best in np.argmax(values, axis=1)]
        for texts, values in zip(labels, scores, strict=True)
    ]


def _shared(entries: dict[str, prompt_store.Entry]) -> Json:
    """Gives what all prompts must have in common to be tested in one program."""
    found: dict[str, tuple[str, Any]] = {}
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
