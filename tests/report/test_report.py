"""The report: hand-worked numbers, awkward jobs, and files that are whole."""

import io
import json
import math
import re

import fake_job
import pytest
from fake_job import METHODS, grouped, row, small, written
from rich.console import Console

from dtvg_jax import files, methods, report
from dtvg_jax.cli import command
from dtvg_jax.cli.commands.report import COMMAND
from dtvg_jax.errors import InputError
from dtvg_jax.report import markdown
from dtvg_jax.report.records import BestSource, Comparison
from dtvg_jax.report.tables import Table


def test_the_table_holds_the_numbers_worked_out_by_hand(tmp_path):
    job = small()
    job["majority"]["mrpc"]["accuracy"] = 68.38
    job["job"]["costs"] = {"prompt_tuning": {"trained": 768, "lane_step": 0.0015}}
    made, text = written(tmp_path, job)
    by_name = {(row.task, row.method): row for row in made.summary.table}
    mrpc = by_name["mrpc", "dtvg"]
    assert (mrpc.mean, mrpc.seeds, mrpc.scores) == (74.0, [0, 1], [71.0, 77.0])
    assert mrpc.sd == pytest.approx(math.sqrt(18))
    # rows: 70, 74 and 60, 60; sources: 90, 91
    for line in (
        "| mrpc | prompt_tuning | accuracy | 72.00 | 2.83 | 2 | 400 | 68.38 | - | - |",
        "| mrpc | dtvg | accuracy | 74.00 | 4.24 | 2 | 400 | 68.38 | - | +2.00 noise |",
        "| rte | prompt_tuning | accuracy | 60.00 | 0.00 | 2 | 400 | 50.00 | - | - |",
        "| rte | dtvg | accuracy | 64.00 | 2.83 | 2 | 400 | 50.00 | - | +4.00 noise |",
        "| qnli | accuracy | 90.50 | 0.71 | 2 | 400 | - |",
        "| prompt_tuning | 66.00 | 2 | - | - | - | 768 | 1.50 |",
        "| dtvg | 69.00 | 2 | +3.00 | -0.44 to +6.44 | 4 | - | - |",
        "dtvg differs from prompt_tuning by +3.00 on average, which is within the "
        "noise: the 95 % interval contains 0. "
        "By target: within the noise on mrpc, rte.",
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
    best = next(e for e in results.summary.table if e.task == "mrpc").best_source
    assert best == BestSource("qnli", validation=63.0, score=51.5, seeds=[0, 1])
    assert "| 50.00 | qnli 51.50 |" in text


def test_prompts_of_a_mixture_stand_beside_the_tasks_own(tmp_path):
    def mixed(seed: int, qnli: float, sst2: float, **other):
        validation = {"qnli": qnli, "sst2": sst2, "mean": (qnli + sst2) / 2}
        return {
            "mixture": "dtvg_sources",
            "seed": seed,
            "best_step": 100,
            "validation": validation,
            "failed": None,
            "entry": f"store/dtvg_sources/stage1-seed{seed}",
            "prompt_digest": "0" * 64,
        } | other

    made = small()
    made["mixtures"] = [mixed(0, 80.0, 70.0), mixed(1, 84.0, 71.0)]
    _, text = written(tmp_path, made)
    for line in (  # own prompts of qnli: 90 and 91
        "| dtvg_sources | qnli | 82.00 | 2.83 | 2 | 90.50 |",
        "| dtvg_sources | sst2 | 70.50 | 0.71 | 2 | - |",
        "| dtvg_sources | mean | 76.25 | 1.77 | 2 | - |",
    ):
        assert line in text.splitlines()
    made["mixtures"][1] |= {"failed": "not finite"}
    _, text = written(tmp_path, made)
    assert "| dtvg_sources | qnli | 80.00 | - | 1 | 90.50 |" in text
    assert "- dtvg_sources, prompt_tuning, seed 1, stage 1: not finite" in text


def test_a_failed_lane_is_named_and_not_in_the_mean(tmp_path):
    made = small()
    made["rows"][3] |= {"failed": "the loss was not finite at step 40"}  # mrpc dtvg 1
    made["rows"].remove(next(r for r in made["rows"] if r["task"] == "rte"))
    results, text = written(tmp_path, made)
    lines = text.splitlines()
    line = "| mrpc | dtvg | accuracy | 71.00 | - | 1 | 400 | 50.00 | - | +1.00 noise |"
    assert f"{line} numbers are not finite (1) |" in lines
    named = "- mrpc, dtvg, seed 1, stage 2: the loss was not finite at step 40"
    assert named in lines
    assert "- rte, prompt_tuning, seed 0, stage 2: no result" in lines
    dtvg = results.summary.comparisons[1].overall
    assert dtvg.pairs == 2  # mrpc seed 0, rte seed 1: +1 and +6
    assert dtvg.difference == 3.5


def test_a_method_whose_lanes_all_failed_has_dashes(tmp_path):
    made = small()
    for one in made["rows"]:
        if one["method"] == "dtvg":
            one |= {"failed": "stopped", "metrics": {}, "examples": None}
    _, text = written(tmp_path, made)
    line = "| mrpc | dtvg | accuracy | - | - | 0 | - | 50.00 | - | - |"
    assert f"{line} numbers are not finite (2) |" in text.splitlines()
    assert "dtvg and prompt_tuning have no target and seed in common." in text


def test_one_seed_and_one_target_says_that_it_is_too_few(tmp_path):
    rows = [row("mrpc", m, 7, s) for m, s in zip(METHODS, (70.0, 72.5), strict=True)]
    made = fake_job.results(
        rows, sources=[], targets=["mrpc"], methods=METHODS, seeds=[7]
    )
    _, text = written(tmp_path, made)
    assert "| mrpc | dtvg | accuracy | 72.50 | - | 1 | 400 | 50.00 | - |" in text
    assert "by +2.50 on their only pair of target and seed" in text
    assert "## Sources" not in text and "## Groups" not in text


def test_a_clear_difference_is_called_better(tmp_path):
    rows = [row("mrpc", "prompt_tuning", seed, 70.0) for seed in (0, 1, 2)]
    rows += [row("mrpc", "dtvg", seed, 75.0 + seed / 10) for seed in (0, 1, 2)]
    made = fake_job.results(
        rows, sources=[], targets=["mrpc"], methods=METHODS, seeds=[0, 1, 2]
    )
    _, text = written(tmp_path, made)
    assert "dtvg is better than prompt_tuning by 5.10 on average" in text


def test_any_method_can_be_the_baseline(tmp_path):
    written(tmp_path, small())
    made = report.write(tmp_path / "job", baseline="dtvg")
    text = (tmp_path / "job/results.md").read_text()
    assert "| prompt_tuning | 66.00 | 2 | -3.00 | -6.44 to +0.44 | 4 | - | - |" in text
    assert "| dtvg | 69.00 | 2 | - | - | - | - | - |" in text
    assert {one.baseline for one in made.summary.comparisons} == {"dtvg"}
    said = "unknown method of this job 'dtv': did you mean 'dtvg'\\? known are "
    with pytest.raises(InputError, match=said):
        report.write(tmp_path / "job", baseline="dtv")


def test_a_job_of_stage_1_alone_compares_nothing(tmp_path):
    rows = [row("mrpc", "prompt_tuning", s, 70.0 + s, stage=1) for s in (0, 1)]
    made = fake_job.results(
        rows, sources=[], targets=["mrpc"], methods=["prompt_tuning"], seeds=[0, 1]
    )
    results, text = written(tmp_path, made)
    assert "| mrpc | prompt_tuning | accuracy | 70.50 | 0.71 | 2 |" in text
    assert results.summary.failed == [] and "None." in text.splitlines()
    assert results.summary.comparisons == [
        Comparison("prompt_tuning", mean=70.5, tasks=1, baseline="prompt_tuning")
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


def test_every_column_is_explained_once_below_its_table(tmp_path):
    made = small()
    made["job"]["data_dir"] = "miniature"  # of which the useful sources are known
    _, text = written(tmp_path, made, [grouped(10, 0, [1, 0])])
    explained = re.findall(r"^- \*\*(.+?)\*\*: ", text, re.MULTILINE)
    assert len(explained) == len(set(explained))
    tables = re.findall(r"^\| (.+) \|\n\| ---", text, re.MULTILINE)
    assert len(tables) == 5
    for header in tables[:-1]:
        for column in header.split(" | "):
            assert column in explained
    assert set(tables[-1].split(" | ")) == {"target", "method", "qnli", "sst2"}


def test_methods_are_described_as_the_job_says(tmp_path):
    """A job of an earlier version says nothing: then as this version does."""
    made = small()
    made["job"]["descriptions"] = {"dtvg": "of its own kind"}
    _, text = written(tmp_path, made)
    assert "- **dtvg**: of its own kind.\n" in text
    known = methods.METHODS["prompt_tuning"].description
    assert f"- **prompt_tuning**: {known}.\n" in text


def test_a_method_that_is_not_known_is_compared_and_not_explained(tmp_path):
    made = small()
    made["job"]["methods"] = ["prompt_tuning", "newer"]
    for one in made["rows"]:
        one["method"] = one["method"].replace("dtvg", "newer")
    _, text = written(tmp_path, made)
    assert "| newer | 69.00 | 2 |" in text and "- **newer**" not in text
    assert "- **prompt_tuning**: " in text


def test_variants_of_a_method_are_told_apart(tmp_path):
    made = small()
    for one in list(made["rows"]):
        if one["method"] == "dtvg":
            more = {"accuracy": one["metrics"]["accuracy"] + 10.0}
            made["rows"].append(one | {"variant": "slow", "metrics": more})
    _, text = written(tmp_path, made, [grouped(10, 0, [1, 0]) | {"variant": "slow"}])
    assert "| dtvg | 69.00 | 2 | +3.00 | -0.44 to +6.44 | 4 |" in text
    assert "| dtvg+slow | 79.00 | 2 | +13.00 | +9.56 to +16.44 | 4 |" in text
    assert "| mrpc | dtvg+slow | 100 | 0 |" in text


def test_a_section_is_a_function_and_a_line(tmp_path, monkeypatch):
    def losers(made):
        table = Table({"task": "the task.", "mean": "its mean."}, [["cola", "1.00"]])
        return ["The worst.", table] if made.summary.table else []

    sections = [*markdown.SECTIONS, ("Worst tasks", losers)]
    monkeypatch.setattr(markdown, "SECTIONS", sections)
    _, text = written(tmp_path, small())
    assert text.endswith(
        "\n\n## Worst tasks\n\nThe worst.\n\n| task | mean |\n| --- | ---: |\n"
        "| cola | 1.00 |\n\n- **task**: the task.\n"  # "mean" is explained above
    )


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


def sealed(content):
    return json.dumps(files.seal(content))


def broken(**job):
    made = small()
    made["job"] |= job
    return sealed(made)


def broken_row(**values):
    made = small()
    made["rows"][0] |= values
    return sealed(made)


def command_code(*flags: str) -> object:
    with pytest.raises(SystemExit) as end:
        command.run(COMMAND, ["report", *flags])
    return end.value.code


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "does not exist: a job writes it at its end"),
        ("{", "not JSON"),
        ("[]", "no JSON object"),
        ('{"format": 9}', "format 9"),
        ('{"format": 2}', "format 2, this version reads format 3"),
        ('{"format": 3}', "not as it was written: run the command of the job again"),
        (sealed({"format": 3}), "the field 'job' is missing"),
        (broken(seeds="0"), "job: seeds = '0': it must be a list of whole numbers"),
        (broken(backbone=None), "job: backbone = None: it must be text"),
        (broken_row(role="x"), "rows.0.: role = 'x': it must be 'source' or 'target'"),
        (broken_row(metrics=[]), "rows.0.: metrics = .*: it must be an object"),
        (sealed(small() | {"job": 5}), "job = 5: it must be an object"),
    ],
)
def test_what_cannot_be_reported_is_said_in_a_sentence(tmp_path, capsys, content, said):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=said):
        report.write(tmp_path)
    assert command_code(f"--job_dir={tmp_path}") == 2
    assert re.search(said, capsys.readouterr().err)


def test_the_command_prints_scores_and_places_in_plain_lines(tmp_path, capsys):
    folder = fake_job.save(tmp_path / "job", small(), [])
    assert command_code(f"--job_dir={folder}") == 0
    lines = capsys.readouterr().out.splitlines()
    found = [line.split() for line in lines]
    assert "mrpc dtvg accuracy 74.00 4.24 2 400 50.00 - +2.00 noise".split() in found
    assert "dtvg 69.00 2 +3.00 -0.44 to +6.44 4 - -".split() in found
    assert f"Report:      {folder / 'results.md'}" in lines
    assert "- sst2, prompt_tuning, seed 1, stage 1: no result" in lines


def test_a_terminal_gets_a_table(tmp_path):
    folder = fake_job.save(tmp_path / "job", small(), [])
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    report.print_table(report.write(folder), folder, console)
    assert "│ mrpc" in console.file.getvalue()


def test_all_weights_are_shown_beside_where_they_were_tuned(tmp_path):
    job = small()
    job["ceilings"] = [
        {
            "task": "mrpc", "seed": seed, "trained": 1000, "best_step": 4,
            "validation": {"mean": 1.0}, "metrics": {"accuracy": score, "mean": 0.0},
        }
        for seed, score in enumerate([80.0, 84.0])
    ]  # fmt: skip
    _, text = written(tmp_path, job)
    assert "| mrpc | accuracy | 82.00 | 2.83 | 2 | 1000 |" in text.splitlines()
    _, text = written(tmp_path / "none", small())
    assert "## All weights" not in text
