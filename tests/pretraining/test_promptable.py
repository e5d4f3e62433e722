"""What a backbone can be prompted to do: the criteria, and tenfold data."""

import fake_table
import pytest

from benchmarks.promptable import criteria, world
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import InputError

SOURCES = [f"s{n}" for n in range(1, 7)]


def columns(**values: float) -> dict[str, list[float]]:
    """One seed's scores of a task."""
    return {name: [value] for name, value in values.items()}


@pytest.mark.parametrize(("last", "met"), [(90.0, True), (89.9, False)])
def test_every_source_must_be_learnt_by_all_weights(last, met):
    scores = {"s1": {"full": [100.0, 80.0]}, "s2": {"full": [last, last]}}
    found = criteria.skills_learnt(scores, ("s1", "s2"))
    assert found.met is met
    assert found.figure.startswith("s1 0.90, s2 0.90")


def test_untrained_prompts_are_held_against_the_nearer_of_chance_and_majority():
    away = {"a": 56.0, "b": 44.0, "c": 5.0, "d": 75.0}
    chance = {"a": 50.0, "b": 50.0, "c": 0.0, "d": 50.0}
    majority = {"a": 50.0, "b": 50.0, "c": 0.0, "d": 70.0}
    scores = {
        task: columns(untrained_ranked=away[task], majority=majority[task])
        for task in away
    }
    found = criteria.untrained_at_chance(scores, chance)
    assert found.met  # c and d are exactly 5 points away
    assert found.figure == "2 of 4 tasks are further away, by points: a 6.0, b 6.0"
    scores["d"] = columns(untrained_ranked=76.0, majority=70.0)
    assert not criteria.untrained_at_chance(scores, chance).met


def test_the_gap_must_be_closed_on_five_of_six_sources():
    # majority 50, all weights 100: 90 closes 0.8 of it, 89 does not
    good, bad = (
        columns(majority=50, full=100, tuned=90),
        columns(majority=50, full=100, tuned=89),
    )
    scores = dict.fromkeys(SOURCES, good) | {"s6": bad}
    found = criteria.gap_closed(scores, SOURCES)
    assert found.met
    assert found.figure.startswith("5 sources: s1 0.80,")
    assert not criteria.gap_closed(scores | {"s5": bad}, SOURCES).met


def test_a_gap_that_is_none_is_not_closed():
    flat = dict.fromkeys(SOURCES, columns(majority=50, full=50, tuned=50))
    assert criteria.gap_closed(flat, SOURCES).figure.startswith("0 sources")


@pytest.mark.parametrize(("second", "met", "mean"), [(2, True, 5), (1, False, 4.5)])
def test_the_gain_of_more_data_is_a_mean_over_targets(second, met, mean):
    scores = {
        "a": columns(tuned=80, tuned_x10=88),
        "b": columns(tuned=80, tuned_x10=80 + second),
    }
    found = criteria.more_data_helps(scores, ("a", "b"))
    assert found.met is met
    assert found.figure == f"{mean:+.1f} points: a +8.0, b +{second}.0"


def against(related: list[float], unrelated: list[float]) -> dict[str, list[float]]:
    return {"related_tuned": related, "unrelated_tuned": unrelated}


def test_related_and_unrelated_starts_are_paired_by_seed():
    # differences 9, 10, 11 and -1, 0, 1: seeds' means 4, 5, 6, half width
    # t(0.975, 2) / sqrt(3) = 4.303 / 1.732 = 2.484
    a = against([59.0, 70.0, 81.0], [50.0, 60.0, 70.0])
    b = against([49.0, 60.0, 71.0], [50.0, 60.0, 70.0])
    found = criteria.related_helps_more({"a": a, "b": b}, ("a", "b"))
    assert found.figure == (
        "better on 1 of 2, beyond the noise on a; worse beyond the noise on none; "
        "over all +5.0 (+2.5 to +7.5)"
    )
    assert not found.met  # one of two is not most
    c = against([51.0, 61.0, 71.0], [50.0, 60.0, 70.0])  # differences 1, 1, 1
    assert criteria.related_helps_more({"a": a, "c": c}, ("a", "c")).met


def test_one_seed_shows_nothing_of_sources():
    scores = {"a": against([90.0], [10.0])}
    found = criteria.related_helps_more(scores, ("a",))
    assert not found.met
    assert found.figure.endswith("over all +80.0")


def test_tables_show_means_deviations_and_holes():
    table = criteria.every_task_table(
        {"a": {"majority": [50.0, 50.0], "tuned": [80.0, 82.0]}}, ("a",)
    )
    assert table.splitlines()[-1] == "| a | 50.0 |  |  | 81.0 (1.4) |  |"


def test_the_table_of_targets_ends_in_means():
    scores = {
        task: {name: [value] for name in criteria.TARGETS_ONLY}
        for task, value in (("a", 60.0), ("b", 70.0))
    }
    lines = criteria.targets_table(
        scores, {"a": "s1", "b": "s2"}, dict.fromkeys("ab", "s3")
    )
    assert lines.splitlines()[2].endswith("| 60.0 | s1, s3 | +0.0 |")
    assert lines.splitlines()[-1].startswith("| **mean** | 65.0 |")


def test_criteria_are_named_as_met_or_missed():
    text = criteria.criteria_text([criteria.Criterion("(x) one", False, "0 of 2")])
    assert text == "- (x) one: **missed** (0 of 2)"


def table(*rows: tuple[list[int], list[int]]) -> TokenTable:
    """A table of these inputs and targets."""
    return fake_table.of_ids(*zip(*rows, strict=True), (64, 8))


def test_more_rows_are_new_ones_that_are_tested_nowhere():
    own = [table(([5, 6], [1])), table(([7], [1])), table(([8, 9], [2]))]
    others = [
        table(([7], [1]), ([8, 9], [2]), ([5], [3])),
        table(([5], [3]), ([4], [4])),
    ]
    larger = world.enlarge(own, others, 3)
    assert list(world.rows(larger)) == [((5, 6), (1,)), ((5,), (3,)), ((4,), (4,))]
    with pytest.raises(InputError, match="3 different rows, not 4"):
        world.enlarge(own, others, 4)


def test_own_rows_that_are_tested_are_replaced():
    own = [table(([5, 6], [1]), ([7], [2])), table(([5, 6], [1]))]
    larger = world.enlarge(own, [table(([5, 6], [1]), ([8], [1]))], 1)
    assert list(world.rows(larger)) == [((7,), (2,)), ((8,), (1,))]


def test_every_target_has_a_related_and_an_unrelated_source():
    assert set(world.RELATED.values()) <= set(world.SOURCES)
    assert set(world.UNRELATED.values()) <= set(world.SOURCES)
    assert not [t for t in world.TARGETS if world.RELATED[t] == world.UNRELATED[t]]
