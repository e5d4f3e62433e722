"""Measures all columns of the tables on one backbone."""

import collections
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks.promptable import training, world
from dtvg_jax.inference import ranking, split_decoding, stored_prompts
from dtvg_jax.methods import initial_prompt
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.training import placement

PROMPT_LENGTH = 16
# Untrained draws of P_init: each prefers some label by ten points, so five are too few.
UNTRAINED = 20
TUNED_AGAIN = ("tuned_x10", "related_tuned", "unrelated_tuned")

Found = dict[str, dict[str, list[float]]]  # a score per seed, by task and column
Prompt = Float[np.ndarray, "P H"]


class Work(NamedTuple):
    """What all measurements share."""

    backbone: Backbone
    tables: world.Tables
    p_init: dict[int, Prompt]  # by seed
    answer: training.Answer
    steps: int


class Case(NamedTuple):
    """A prompt to test on a task's test split, and the column of its score."""

    task: str
    column: str
    seed: int
    prompt: Prompt


def prepare(backbone: Backbone, tables: world.Tables, seeds: int, steps: int) -> Work:
    """Draws P_init of every seed and builds the decoder."""
    p_init = draw(backbone, seeds)
    answer = training.make_answer(backbone, world.LENGTHS)
    return Work(backbone, tables, p_init, answer, steps)


def draw(backbone: Backbone, seeds: int) -> dict[int, Prompt]:
    """Draws P_init for the seeds 0 to `seeds` - 1."""
    embedding = backbone.embedding(backbone.params)
    return {
        seed: initial_prompt.p_init(embedding, PROMPT_LENGTH, seed)
        for seed in range(seeds)
    }


def chance() -> dict[str, float]:
    """Gives the expected score (%) of guessing, for tasks of fixed labels."""
    from tasks.task_info import TASKS

    found = {}
    for task in world.TASKS:
        labels, primary = TASKS[task].labels, TASKS[task].metrics[0]
        if labels is not None and primary == "accuracy":
            found[task] = 100 / len(labels)
        elif primary == "matthews_correlation":
            found[task] = 0.0
    return found


def measure(work: Work) -> tuple[Found, dict[str, float]]:
    """Measures all columns; returns scores, and seconds by part."""
    scores: Found = {task: {} for task in world.TASKS}
    seconds: dict[str, float] = {}
    began = time.monotonic()

    def note(part: str, found: Found) -> None:
        for task, columns in found.items():
            scores[task] |= columns
        seconds[part] = round(time.monotonic() - began - sum(seconds.values()), 1)
        print(f"{part}: {seconds[part]} s", file=sys.stderr, flush=True)

    note("majority", _majority(work))
    note("untrained", _untrained(work))
    own = tune_on_own_data(work)
    note("prompt tuning", _test(work, own))
    learned = {(case.task, case.seed): case.prompt for case in own}
    note("sources, untuned", _test(work, _untuned(work, learned)))
    again = tune_again(work, learned)
    note("prompt tuning with sources and more data", _test(work, again))
    note("full fine-tuning", _full(work))
    return scores, seconds


def _majority(work: Work) -> Found:
    found: Found = {}
    for task in world.TASKS:
        targets = [target for _, target in world.rows(work.tables[task, "train"])]
        [(most, _)] = collections.Counter(targets).most_common(1)
        test = work.tables[task, "test"]
        [text] = work.backbone.vocabulary.decode([list(most)])
        score = training.primary_score(test, [text.strip()] * len(test))
        found[task] = {"majority": [score] * len(work.p_init)}
    return found


def _untrained(work: Work) -> Found:
    p_init = draw(work.backbone, UNTRAINED)
    cases = [
        Case(task, "untrained", seed, prompt)
        for seed, prompt in p_init.items()
        for task in world.TASKS
    ]
    found = _test(work, cases)
    labels = {
        task: stored_prompts.label_texts(
            work.tables[task, "test"], work.backbone.vocabulary
        )
        for task in chance()
    }
    pairs = [
        split_decoding.Pair(k, work.tables[task, "test"])
        for k in p_init
        for task in labels
    ]
    setup = split_decoding.Setup(work.backbone, placement.make(), training.ROWS_AT_ONCE)
    values = split_decoding.rank(
        ranking.make_rank(work.backbone),
        setup,
        Prompts(np.stack(list(p_init.values()))),
        pairs,
        [labels[pair.table.name] for pair in pairs],
    )
    for pair, likelihoods in zip(pairs, values, strict=True):
        answers = ranking.likeliest(labels[pair.table.name], likelihoods)
        score = training.primary_score(pair.table, answers)
        found[pair.table.name].setdefault("untrained_ranked", []).append(score)
    return found


def tune_on_own_data(work: Work) -> list[Case]:
    """Tunes P_init on every task's own training rows."""
    tunings = [
        _tuning(work, task, "tuned", seed, work.p_init[seed])
        for seed in work.p_init
        for task in world.TASKS
    ]
    return _tune(work, tunings)


def tune_again(work: Work, learned: dict[tuple[str, int], Prompt]) -> list[Case]:
    """Tunes targets on more data, and from the prompts of sources."""

    def start(task: str, kind: str, seed: int) -> Prompt:
        source = _source(task, kind)
        return work.p_init[seed] if source is None else learned[source, seed]

    tunings = [
        _tuning(work, task, kind, seed, start(task, kind, seed))
        for seed in work.p_init
        for kind in TUNED_AGAIN
        for task in world.TARGETS
    ]
    return _tune(work, tunings)


def _untuned(work: Work, learned: dict[tuple[str, int], Prompt]) -> list[Case]:
    return [
        Case(task, f"{kind}_untuned", seed, learned[source, seed])
        for seed in work.p_init
        for kind in ("related", "unrelated")
        for task in world.TARGETS
        if (source := _source(task, kind)) is not None
    ]


def _source(task: str, kind: str) -> str | None:
    if kind.startswith("related"):
        return world.RELATED[task]
    return world.UNRELATED[task] if kind.startswith("unrelated") else None


def _tuning(
    work: Work, task: str, kind: str, seed: int, start: Prompt
) -> training.Tuning:
    train = "train_x10" if kind.endswith("x10") else "train"
    return training.Tuning(
        task,
        kind,
        seed,
        start,
        work.tables[task, train],
        work.tables[task, "validation"],
    )


def _tune(work: Work, tunings: Sequence[training.Tuning]) -> list[Case]:
    tuned = training.tune(tunings, work.p_init, work.backbone, work.answer, work.steps)
    return [
        Case(r.task, r.kind, r.seed, p) for r, p in zip(tunings, tuned, strict=True)
    ]


def _full(work: Work) -> Found:
    fine_tune = training.make_fine_tune(
        work.backbone, work.answer, world.LENGTHS, work.steps
    )
    found: Found = {task: {} for task in world.TASKS}
    for column, tasks in (("full", world.TASKS), ("full_x10", world.TARGETS)):
        for seed, start in work.p_init.items():
            for task in tasks:
                tuned = fine_tune(_tuning(work, task, column, seed, start))
                case = Case(task, column, seed, start)
                score = _test(work._replace(backbone=tuned), [case])[task][column]
                found[task].setdefault(column, []).extend(score)
    return found


def _test(work: Work, cases: Sequence[Case]) -> Found:
    """Decodes the test split of every case; scores are in the order of the cases."""
    pairs = [
        split_decoding.Pair(k, work.tables[case.task, "test"])
        for k, case in enumerate(cases)
    ]
    prompts = Prompts(np.stack([case.prompt for case in cases]))
    texts = work.answer(work.backbone, prompts, pairs)
    found: Found = {}
    for case, pair, answers in zip(cases, pairs, texts, strict=True):
        score = training.primary_score(pair.table, answers)
        found.setdefault(case.task, {}).setdefault(case.column, []).append(score)
    return found
