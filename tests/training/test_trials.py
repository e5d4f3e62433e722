"""Settings of a search, ranked by scores that are made up."""

import math

import pytest

from dtvg_jax.training import trials
from dtvg_jax.training.runs import Run, Trial

NAN = math.nan


def scores(table: dict[str, list[float]], task: str = "rte") -> trials.Scores:
    """A score per seed of settings, named by the variants of a method."""
    return {
        Run(2, task, "dtvg", seed, variant, Trial(0.1)): (score,)
        for variant, found in table.items()
        for seed, score in enumerate(found)
    }


def names(runs: set[Run]) -> str:
    """The variants, each with as many letters as runs: "aab" is two of a, one of b."""
    return "".join(sorted(run.variant for run in runs))


@pytest.mark.parametrize(
    ("table", "best", "half"),
    [
        ({"a": [50, 60], "b": [58, 56], "c": [70, 20]}, "bb", "aabb"),
        # Seed by seed a or c would win; the mean over seeds decides.
        ({"a": [90, 10], "b": [60, 60], "c": [10, 90], "d": [0, 0]}, "bb", "aabb"),
        ({"a": [50], "b": [50]}, "a", "a"),  # the first of equals
        ({"a": [50, 70], "b": [70, 50], "c": [60, 60]}, "aa", "aabb"),
        ({"a": [NAN, NAN], "b": [1, 1]}, "bb", "bb"),
        ({"a": [99, NAN], "b": [1, 2]}, "bb", "bb"),  # a failed seed: the other
        ({"a": [NAN, 9], "b": [8, NAN], "c": [NAN, NAN]}, "aa", "aabb"),
        ({"a": [NAN], "b": [NAN]}, "a", "a"),  # all failed: the first is shown
        ({"a": [0]}, "a", "a"),
        ({}, "", ""),
    ],
)
def test_settings_are_ranked_by_their_mean_over_seeds(table, best, half):
    found = scores(table)
    assert names(trials.best(found)) == best
    assert names(trials.better_half(found)) == half


def test_each_task_and_method_has_a_choice_of_its_own():
    found = {**scores({"a": [1], "b": [2]}), **scores({"a": [4], "b": [3]}, "cb")}
    other = {run._replace(method="spot"): (-s[0],) for run, s in found.items()}
    best = trials.best({**found, **other})
    assert sorted((run.task, run.method, run.variant) for run in best) == [
        ("cb", "dtvg", "a"),
        ("cb", "spot", "b"),
        ("rte", "dtvg", "b"),
        ("rte", "spot", "a"),
    ]


def test_rates_and_warm_ups_are_settings_too():
    given = {Trial(0.1): 3.0, Trial(0.2): 5.0, Trial(0.2, 10): 4.0}
    found = {Run(2, "rte", "spot", 0, "", t): (score,) for t, score in given.items()}
    assert [one.trial for one in trials.ranked(found)[0]] == [
        Trial(0.2),
        Trial(0.2, 10),
        Trial(0.1),
    ]


def test_equals_are_told_apart_by_the_next_score():
    given = {"a": [(5, 1), (5, 9)], "b": [(6, 8), (4, 4)], "c": [(4, 9), (4, 9)]}
    found = {
        Run(2, "rte", "dtvg", seed, variant, Trial(0.1)): score
        for variant, seeds in given.items()
        for seed, score in enumerate(seeds)
    }
    ranked = [one.variant for one in trials.ranked(found)[0]]
    assert ranked == ["b", "a", "c"]  # means (5, 6), (5, 5), (4, 9)
