"""The report: hand-worked numbers, awkward jobs, and files that are whole."""

import io
import json
import math
import re

import fake_job
import matplotlib
import pytest
from fake_job import METHODS, grouped, row, small
from matplotlib.image import imread
from rich.console import Console

from dtvg_jax import methods, report
from dtvg_jax.errors import InputError
from dtvg_jax.report import glossary
from dtvg_jax.report.__main__ import main
from dtvg_jax.report.statistics import paired_interval, spread
from tasks.miniature.needs import NEEDS
from tasks.miniature.useful import USEFUL
from tasks.task_info import TASKS


def written(tmp_path, made, records=()):
    folder = fake_job.save(tmp_path / "job", made, list(records))
    returned = report.write(folder)
    assert returned == json.loads((folder / "results.json").read_text())
    return returned, (folder / "results.md").read_text()


@pytest.mark.parametrize(
    "values, mean, sd",
    [
        ([4.0], 4.0, None),
        ([1.0, 3.0], 2.0, math.sqrt(2)),
        ([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 5.0, math.sqrt(32 / 7)),
        ([5.0, 5.0, 5.0], 5.0, 0.0),
    ],
)
def test_spread(values, mean, sd):
    assert spread(values) == pytest.approx((mean, sd))


# Half widths from a printed t table: t(0.975) is 12.706, 4.303, 3.182 for 1, 2, 3
# degrees of freedom.
@pytest.mark.parametrize(
    "differences, mean, half, noise",
    [
        ([1.0, 3.0], 2.0, 12.706 * math.sqrt(2) / math.sqrt(2), True),
        ([1.0, 2.0, 3.0], 2.0, 4.303 * 1 / math.sqrt(3), True),
        ([4.0, 5.0, 6.0], 5.0, 4.303 * 1 / math.sqrt(3), False),
        ([-4.0, -5.0, -6.0], -5.0, 4.303 * 1 / math.sqrt(3), False),
        ([1.0, 3.0, 2.0, 6.0], 3.0, 3.182 * math.sqrt(14 / 3) / 2, True),
        ([0.0, 0.0], 0.0, 0.0, True),
    ],
)
def test_paired_interval(differences, mean, half, noise):
    found = paired_interval(differences)
    assert found.pairs == len(differences)
    expected = (mean, mean - half, mean + half)
    assert found[:3] == pytest.approx(expected, abs=2e-3)
    assert found.within_noise is noise


def test_one_pair_has_no_interval():
    found = paired_interval([3.0])
    assert found == (3.0, None, None, 1) and found.within_noise


def test_the_table_holds_the_numbers_worked_out_by_hand(tmp_path):
    made = small()
    made["majority"]["mrpc"]["accuracy"] = 68.38
    results, text = written(tmp_path, made)
    by_name = {(e["task"], e["method"]): e for e in results["table"]}
    mrpc = by_name["mrpc", "dtvg"]
    assert (mrpc["mean"], mrpc["seeds"], mrpc["scores"]) == (74.0, [0, 1], [71.0, 77.0])
    assert mrpc["sd"] == pytest.approx(math.sqrt(18))
    # rows: 70, 74 and 60, 60; sources: 90, 91
    for line in (
        "| mrpc | prompt_tuning | accuracy | 72.00 | 2.83 | 2 | 400 | 68.38 | - | - |",
        "| mrpc | dtvg | accuracy | 74.00 | 4.24 | 2 | 400 | 68.38 | - | +2.00 noise |",
        "| rte | prompt_tuning | accuracy | 60.00 | 0.00 | 2 | 400 | 50.00 | - | - |",
        "| rte | dtvg | accuracy | 64.00 | 2.83 | 2 | 400 | 50.00 | - | +4.00 noise |",
        "| qnli | accuracy | 90.50 | 0.71 | 2 | 400 | - |",
        "| prompt_tuning | 66.00 | 2 | - | - | - |",
        "| dtvg | 69.00 | 2 | +3.00 | -0.44 to +6.44 | 4 |",
        "dtvg differs from prompt_tuning by +3.00 on average, which is within the "
        "noise: the 95 % interval holds 0. By target: within the noise on mrpc, rte.",
        "- sst2, prompt_tuning, seed 0, stage 1: no result",
    ):
        assert line in text.splitlines()


def test_the_best_source_is_chosen_by_validation_and_shows_its_test_score(tmp_path):
    def single(source, seed, validation, test):
        return {
            "task": "mrpc",
            "source": source,
            "seed": seed,
            "examples": 400,
            "validation": {"mean": validation},
            "metrics": {"accuracy": test, "mean": test},
        }

    made = small()
    made["single_source"] = [
        single("sst2", 0, 80.0, 40.0),  # mean 60: best of one seed, and of test, lose
        single("sst2", 1, 40.0, 90.0),
        single("qnli", 0, 64.0, 51.0),
        single("qnli", 1, 62.0, 52.0),
    ]
    results, text = written(tmp_path, made)
    best = next(e for e in results["table"] if e["task"] == "mrpc")["best_source"]
    assert best == {"source": "qnli", "validation": 63, "score": 51.5, "seeds": [0, 1]}
    assert "| 50.00 | qnli 51.50 |" in text


def test_a_failed_lane_is_named_and_not_in_the_mean(tmp_path):
    made = small()
    made["rows"][3] |= {"failed": "the loss was not finite at step 40"}  # mrpc dtvg 1
    made["rows"].remove(next(r for r in made["rows"] if r["task"] == "rte"))
    results, text = written(tmp_path, made)
    lines = text.splitlines()
    line = "| mrpc | dtvg | accuracy | 71.00 | - | 1 | 400 | 50.00 | - | +1.00 noise |"
    assert line in lines
    named = "- mrpc, dtvg, seed 1, stage 2: the loss was not finite at step 40"
    assert named in lines
    assert "- rte, prompt_tuning, seed 0, stage 2: no result" in lines
    dtvg = results["comparisons"][1]
    assert dtvg["pairs"] == 2  # mrpc seed 0, rte seed 1: +1 and +6
    assert dtvg["difference"] == 3.5


def test_a_method_whose_lanes_all_failed_has_dashes(tmp_path):
    made = small()
    for one in made["rows"]:
        if one["method"] == "dtvg":
            one |= {"failed": "stopped", "metrics": {}, "examples": None}
    _, text = written(tmp_path, made)
    line = "| mrpc | dtvg | accuracy | - | - | 0 | - | 50.00 | - | - |"
    assert line in text.splitlines()
    assert "dtvg and prompt_tuning have no target and seed in common." in text


def test_one_seed_and_one_target_says_that_it_is_too_few(tmp_path):
    rows = [row("mrpc", m, 7, s) for m, s in zip(METHODS, (70.0, 72.5), strict=True)]
    made = fake_job.results(
        rows, sources=[], targets=["mrpc"], methods=METHODS, seeds=[7]
    )
    _, text = written(tmp_path, made)
    assert "| mrpc | dtvg | accuracy | 72.50 | - | 1 | 400 | 50.00 | - |" in text
    assert "by +2.50 on its only pair of target and seed" in text
    assert "## Sources" not in text and "## Groups" not in text


def test_a_clear_difference_is_called_better(tmp_path):
    rows = [row("mrpc", "prompt_tuning", seed, 70.0) for seed in (0, 1, 2)]
    rows += [row("mrpc", "dtvg", seed, 75.0 + seed / 10) for seed in (0, 1, 2)]
    made = fake_job.results(
        rows, sources=[], targets=["mrpc"], methods=METHODS, seeds=[0, 1, 2]
    )
    _, text = written(tmp_path, made)
    assert "dtvg is better than prompt_tuning by 5.10 on average" in text


def test_a_job_of_stage_1_alone_compares_nothing(tmp_path):
    rows = [row("mrpc", "prompt_tuning", s, 70.0 + s, stage=1) for s in (0, 1)]
    made = fake_job.results(
        rows, sources=[], targets=["mrpc"], methods=["prompt_tuning"], seeds=[0, 1]
    )
    results, text = written(tmp_path, made)
    assert "| mrpc | prompt_tuning | accuracy | 70.50 | 0.71 | 2 |" in text
    assert results["failed"] == [] and "None." in text.splitlines()
    assert results["comparisons"] == [
        {"method": "prompt_tuning", "mean": 70.5, "tasks": 1}
    ]


def test_a_job_of_sources_alone_has_no_methods_table(tmp_path):
    rows = [row("qnli", "prompt_tuning", 0, 90.0, stage=1, role="source")]
    made = fake_job.results(
        rows, sources=["qnli"], targets=[], methods=["prompt_tuning"], seeds=[0]
    )
    _, text = written(tmp_path, made)
    assert "## Methods" not in text and "| qnli | accuracy | 90.00 |" in text


def test_stage_1_prompts_of_targets_are_told_apart(tmp_path):
    made = small()
    made["rows"].append(row("mrpc", "prompt_tuning", 0, 65.0, stage=1))
    _, text = written(tmp_path, made)
    assert "| mrpc | prompt_tuning (stage 1) | accuracy | 65.00 | - | 1 |" in text


def test_group_shares_are_means_over_steps_and_then_seeds(tmp_path):
    records = [grouped(10 * i, 0, [1, int(i == 1)]) for i in (1, 2, 3, 4)]
    records += [grouped(10, 1, [0, 1])]
    results, text = written(tmp_path, small(), records)
    # qnli: (4/4 + 0/1) / 2 = 50 %; sst2: (1/4 + 1/1) / 2 = 62.5 %
    assert results["groups"][0]["share"] == [0.5, 0.625]
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
    [found] = results["groups"]
    assert found["useful"] == ["mnli", "qqp"]
    assert found["precision"] == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert found["recall"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["chance"] == 0.5
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
    assert "precision" not in results["groups"][0] and "useful" not in text
    assert f"| {task} | dtvg | 100 | 0 | 0 | 0 |" in text.splitlines()


def test_useful_sources_are_sources_of_the_catalogue_and_share_a_skill():
    for target, sources in USEFUL.items():
        assert TASKS[target].role == "target"
        for source in sources:
            assert TASKS[source].role == "source"
            assert set(NEEDS[source]) & set(NEEDS[target])


def test_every_column_is_explained_once_below_its_table(tmp_path):
    _, text = on_the_miniature(tmp_path, chose(0, ["qqp"], sources=FOUR))
    explained = re.findall(r"^- \*\*(.+?)\*\*: ", text, re.MULTILINE)
    assert len(explained) == len(set(explained))
    tables = re.findall(r"^\| (.+) \|\n\| ---", text, re.MULTILINE)
    assert len(tables) == 5
    for header in tables[:-1]:
        for column in header.split(" | "):
            assert column in explained
    assert set(tables[-1].split(" | ")) == {"target", "method", *FOUR}


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_method_is_explained(method):
    assert method in glossary.METHODS


def test_targets_that_differ_alone_are_named(tmp_path):
    made = small()
    for one in made["rows"]:  # rte by dtvg: 2 and 2.2 more than 60
        if (one["task"], one["method"]) == ("rte", "dtvg"):
            one["metrics"]["accuracy"] = 62.0 + one["seed"] / 5
    _, text = written(tmp_path, made)
    assert "By target: better on rte; within the noise on mrpc." in text
    assert (
        "| rte | dtvg | accuracy | 62.10 | 0.14 | 2 | 400 | 50.00 | - | +2.10 better |"
        in text
    )


@pytest.mark.parametrize(
    "options, plots",
    [
        ({}, ["consistency", "groups", "losses", "similarity"]),
        ({"methods": ("prompt_tuning",)}, ["losses", "similarity"]),
        (
            {"methods": ("dtvg", "all_sources"), "seeds": (3,), "targets": ["mrpc"]},
            ["consistency", "consistency-all_sources", "groups", "groups-all_sources",
             "losses", "similarity"],
        ),
        (
            {"sources": ["qnli", "mrpc"], "targets": ["mrpc"], "steps": 10},
            ["consistency", "groups", "losses", "similarity"],
        ),
    ],
    ids=["full", "prompt tuning", "two grouping methods", "a source that is a target"],
)  # fmt: skip
def test_plots_are_drawn_without_touching_matplotlib(tmp_path, options, plots):
    folder = fake_job.full(tmp_path / "job", **options)
    before = dict(matplotlib.rcParams)
    report.write(folder)
    assert dict(matplotlib.rcParams) == before
    assert sorted(path.stem for path in (folder / "plots").iterdir()) == plots
    for path in (folder / "plots").iterdir():
        image = imread(path)
        assert image.std() > 0.05, f"{path.name} is blank"
        assert f"`plots/{path.name}`" in (folder / "results.md").read_text()


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    folder = fake_job.full(tmp_path / "job", targets=["mrpc"], sources=["qnli"])

    def contents():
        report.write(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in files}

    assert contents() == contents()


def test_missing_losses_leave_gaps_and_not_errors(tmp_path):
    records = [grouped(10, 0, [0, 0]), grouped(20, 0, [1, 0]), grouped(10, 1, [1, 1])]
    records[1]["loss"] = None
    for record in records[2:]:
        record["loss"] = None
    written(tmp_path, small(), records)


@pytest.mark.parametrize(
    "content, said",
    [(None, "does not exist"), ("{", "not JSON"), ('{"format": 9}', "format 9")],
)
def test_what_cannot_be_reported_is_said_in_a_sentence(tmp_path, capsys, content, said):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=said):
        report.write(tmp_path)
    assert main([f"--job_dir={tmp_path}"]) == 2
    assert said in capsys.readouterr().err


def test_the_command_prints_scores_and_places_in_plain_lines(tmp_path, capsys):
    folder = fake_job.save(tmp_path / "job", small(), [])
    assert main([f"--job_dir={folder}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [line.split() for line in lines]
    assert "mrpc dtvg accuracy 74.00 4.24 2 400 50.00 - +2.00 noise".split() in found
    assert "dtvg 69.00 2 +3.00 -0.44 to +6.44 4".split() in found
    assert f"Report:      {folder / 'results.md'}" in lines
    assert "- sst2, prompt_tuning, seed 1, stage 1: no result" in lines


def test_a_terminal_gets_a_table(tmp_path):
    folder = fake_job.save(tmp_path / "job", small(), [])
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    report.print_table(report.write(folder), folder, console)
    assert "│ mrpc" in console.file.getvalue()
