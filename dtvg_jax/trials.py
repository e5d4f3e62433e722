"""Stored prompts on task splits: many prompts and tasks in one program."""

import importlib
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dtvg_jax import evaluation, outcomes, store
from dtvg_jax.backbones.backbone import Backbone
from dtvg_jax.data import scoring
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import InputError

Json = dict[str, Any]
SCORINGS = ("greedy", "rank")


class Trial(NamedTuple):
    """A stored prompt, by the name of its entry, and the task it is tried on."""

    entry: str
    task: str


def plan_trials(
    names: Sequence[str],
    entries: Sequence[store.Entry],
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
    entries: dict[str, store.Entry],
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
    pairs = [evaluation.Pair(names.index(t.entry), tables[t.task]) for t in trials]
    settings = {"batch_size": batch_size, "lengths": lengths, "check": check}
    answer = _greedy if scoring_by == "greedy" else _ranked
    answers = answer(backbone, prompts, pairs, label_style, settings)
    rows = []
    for trial, pair, given in zip(trials, pairs, answers, strict=True):
        file = f"predictions/{trial.entry.replace('/', '-')}-on-{trial.task}.jsonl"
        outcomes.write_predictions(out / file, pair.table, given)
        rows.append(
            {
                **trial._asdict(),
                "split": pair.table.split,
                "examples": len(pair.table),
                "metrics": scoring.score(pair.table, given),
                "headline": (pair.table.meta["metric_names"] or ["mean"])[0],
                "predictions": file,
            }
        )
    return rows


def label_texts(task: str, label_style: str) -> list[str]:
    """Lists the label texts of a task; raises InputError where answers are free."""
    info = importlib.import_module("tasks.table").TASKS.get(task)
    if info is None or info.labels is None:
        raise InputError(
            f"the answers of {task} are no fixed labels, so they cannot be ranked: use "
            "--scoring=greedy"
        )
    digits = [str(number) for number in range(len(info.labels))]
    return digits if label_style == "digits" else list(info.labels)


def _greedy(backbone, prompts, pairs, label_style, settings) -> list[list[str]]:
    del label_style
    decode = evaluation.make_decode(backbone, settings["lengths"][1])
    return evaluation.predict(decode, backbone, prompts, pairs, **settings)


def _ranked(backbone, prompts, pairs, label_style, settings) -> list[list[str]]:
    labels = [label_texts(pair.table.name, label_style) for pair in pairs]
    scores = evaluation.rank(
        evaluation.make_rank(backbone), backbone, prompts, pairs, labels, **settings
    )
    return [
        [texts[best] for best in np.argmax(values, axis=1)]
        for texts, values in zip(labels, scores, strict=True)
    ]
