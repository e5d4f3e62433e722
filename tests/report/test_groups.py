"""Shares of groups, and how they agree with the sources that are useful."""

import pytest
from fake_job import grouped, small, written

from tasks.miniature.needs import NEEDS
from tasks.miniature.useful import USEFUL
from tasks.task_info import TASKS


def test_group_shares_are_means_over_steps_and_then_seeds(tmp_path):
    records = [grouped(10 * i, 0, [1, int(i == 1)]) for i in (1, 2, 3, 4)]
    records += [grouped(10, 1, [0, 1])]
    results, text = written(tmp_path, small(), records)
    # qnli: (4/4 + 0/1) / 2 = 50 %; sst2: (1/4 + 1/1) / 2 = 62.5 %
    assert results.summary.groups[0].share == [0.5, 0.625]
    assert "| mrpc | dtvg | 50 | 62 |" in text.splitlines()


def on_the_miniature(tmp_path, records, **job):
    made = small()
    made["job"] |= {"data_dir": "miniature"} | job
    return written(tmp_path, made, records)


def chose(seed, *groups, sources, task="mrpc"):
    """Records of a lane that chose these groups, names of sources, at its steps."""
    return [
        grouped(10 * (i + 1), seed, [int(name in group) for name in sources])
        | {"sources": sources, "task": task}
        for i, group in enumerate(groups)
    ]


# mrpc: qqp and mnli are useful. rte: mnli is. stsb: nothing is known.
FOUR = ["mnli", "qnli", "qqp", "sst2"]


def test_groups_are_held_to_the_sources_that_are_useful_by_construction(tmp_path):
    # Seed 0: precision 1/1, 1/2 and none, mean 3/4; recall 1/2, 1/2 and 0, mean 1/3.
    # Seed 1: precision 2/4; recall 2/2.
    records = chose(0, ["qqp"], ["qqp", "sst2"], [], sources=FOUR)
    records += chose(1, FOUR, sources=FOUR)
    results, text = on_the_miniature(tmp_path, records)
    [share] = results.summary.groups
    found = share.usefulness
    assert found.useful == ["mnli", "qqp"]
    assert found.precision == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert found.recall == pytest.approx((1 / 3 + 1) / 2)
    assert found.chance == 0.5
    # mnli: (0 + 1) / 2; qnli: the same; qqp: (2/3 + 1) / 2; sst2: (1/3 + 1) / 2.
    chosen = "mnli, qnli, qqp, sst2"
    assert f"| mrpc | dtvg | mnli, qqp | {chosen} | 62 | 50 | 67 |" in text


@pytest.mark.parametrize(
    "task, sources, groups, shown",
    [
        ("rte", ["qnli", "mnli"], [["qnli"]], "| mnli | qnli | 0 | 50 | 0 |"),
        ("rte", ["qnli", "mnli"], [[], []], "| mnli | none | - | 50 | 0 |"),
        ("rte", ["qnli", "sst2"], [["qnli"]], "| none | qnli | 0 | 0 | - |"),
        ("rte", ["rte", "mnli"], [["mnli"]], "| mnli | mnli | 100 | 100 | 100 |"),
    ],
    ids=["the wrong one", "nobody", "nobody is useful", "itself among the sources"],
)
def test_groups_with_nothing_to_measure(tmp_path, task, sources, groups, shown):
    records = chose(0, *groups, sources=sources, task=task)
    _, text = on_the_miniature(tmp_path, records)
    assert f"| {task} | dtvg {shown}" in text.splitlines()


@pytest.mark.parametrize("data_dir, task", [("/data", "rte"), ("miniature", "stsb")])
def test_nothing_is_said_of_useful_sources_that_are_not_known(tmp_path, data_dir, task):
    records = chose(0, ["mnli"], sources=FOUR, task=task)
    results, text = on_the_miniature(tmp_path, records, data_dir=data_dir)
    assert results.summary.groups[0].usefulness is None and "useful" not in text
    assert f"| {task} | dtvg | 100 | 0 | 0 | 0 |" in text.splitlines()


def test_useful_sources_are_sources_of_the_catalogue_and_share_a_skill():
    for target, sources in USEFUL.items():
        assert TASKS[target].role == "target"
        for source in sources:
            assert TASKS[source].role == "source"
            assert set(NEEDS[source]) & set(NEEDS[target])
