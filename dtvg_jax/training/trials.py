"""Trials of a search: which settings go on at a halving, and which is the best.

A setting is a variant of a method with a trial. It is judged by its runs of all seeds
together: a choice for each seed would pick the noise of that seed.
"""

import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from dtvg_jax.training.runs import Run, Trial

# Of a run: its validation score, NaN where it failed; then what decides between equals.
Scores: TypeAlias = Mapping[Run, tuple[float, ...]]


class Setting(NamedTuple):
    """What the runs of all seeds share."""

    task: str
    method: str
    variant: str
    trial: Trial | None


def setting_of(run: Run) -> Setting:
    """Gives the setting that a run tries."""
    return Setting(run.task, run.method, run.variant, run.trial)


def ranked(scores: Scores) -> list[list[Setting]]:
    """Ranks the settings of each task and method, the best first.

    The scores of a setting are means over seeds. One with fewer failed seeds comes
    before all with more, whatever their scores; ties go to the setting given first.
    """
    seeds: dict[Setting, list[tuple[float, ...]]] = {}
    for run, found in scores.items():
        seeds.setdefault(setting_of(run), []).append(found)
    compared: dict[tuple[str, str], list[Setting]] = {}
    for setting in seeds:
        compared.setdefault((setting.task, setting.method), []).append(setting)
    return [
        sorted(settings, key=lambda one: _merit(seeds[one]), reverse=True)
        for settings in compared.values()
    ]


def best(scores: Scores) -> set[Run]:
    """Gives the runs of the best setting of each task and method."""
    return _of_settings(scores, {settings[0] for settings in ranked(scores)})


def better_half(scores: Scores) -> set[Run]:
    """Gives the runs of the better half of settings; of an odd number the larger."""
    kept = (settings[: (len(settings) + 1) // 2] for settings in ranked(scores))
    return _of_settings(scores, {setting for half in kept for setting in half})


def _of_settings(scores: Scores, settings: set[Setting]) -> set[Run]:
    return {run for run in scores if setting_of(run) in settings}


def _merit(seeds: list[tuple[float, ...]]) -> tuple[float, ...]:
    ended = [scores for scores in seeds if not math.isnan(scores[0])]
    means = map(statistics.fmean, zip(*ended, strict=True))
    return len(ended), *means
