"""What the report says of a search whose trials are made up."""

import io

import fake_job
import pytest
from fake_job import grouped, small, trial, written
from rich.console import Console

from dtvg_jax import report
from dtvg_jax.report.records import SettingRow
from dtvg_jax.training.runs import Trial

TRIALS = [
    *(trial("mrpc", seed, 80.0 + seed, 0.1) for seed in (0, 1)),
    *(trial("mrpc", seed, 90.0, 0.2, variant="slow", chosen=True) for seed in (0, 1)),
    *(trial("rte", seed, 60.0 + 2 * seed, 0.1, chosen=True) for seed in (0, 1)),
    trial("rte", 0, 55.0, 0.2, variant="slow", stopped=50),
    trial("rte", 1, 20.0, 0.2, variant="slow", stopped=50, failed="not finite"),
]
CHOSEN = {"mrpc": ("slow", 0.2), "rte": ("", 0.1)}


@pytest.fixture
def searched():
    """A small job of which the settings of dtvg were chosen."""
    made = small()
    made["trials"] = TRIALS
    for one in made["rows"]:
        if one["method"] == "dtvg":
            variant, rate = CHOSEN[one["task"]]
            one |= {"variant": variant, "trial": {"rate": rate, "warmup": None}}
    return made


def test_the_table_has_a_column_for_each_setting(tmp_path, searched):
    made, text = written(tmp_path, searched)
    for line in (
        "| target | method | rate 0.1 | slow, rate 0.2 |",
        "| mrpc | dtvg | 80.50 | 90.00* |",
        "| rte | dtvg | 61.00* | 55.00 to 50 1 failed |",
    ):
        assert line in text.splitlines()
    assert made.summary.settings[-1] == SettingRow(
        task="rte",
        method="dtvg",
        variant="slow",
        trial=Trial(0.2),
        mean=55.0,
        seeds=[0],
        failed=[1],
        stopped=50,
        chosen=False,
    )


def test_chosen_settings_are_compared_as_one_method(tmp_path, searched):
    _, text = written(tmp_path, searched)
    # The numbers of `small`, where dtvg has no settings.
    assert "| dtvg | 69.00 | 2 | +3.00 | -0.44 to +6.44 | 4 | - | - |" in text
    assert "dtvg+slow" not in text and "dtvg@" not in text


def test_the_log_of_other_trials_is_not_shown(tmp_path, searched):
    def record(group, rate, variant):
        trial = {"rate": rate, "warmup": None}
        return grouped(10, 0, group) | {"variant": variant, "trial": trial}

    records = [
        record([1, 0], 0.2, "slow"),
        record([0, 1], 0.2, ""),
        record([0, 1], 0.1, "slow"),
    ]
    _, text = written(tmp_path, searched, records)
    assert "| mrpc | dtvg | 100 | 0 |" in text


def test_a_job_without_a_search_does_not_speak_of_one(tmp_path):
    made, text = written(tmp_path, small())
    assert made.summary.settings == [] and "## Search" not in text


def test_the_terminal_shows_the_trials(tmp_path, searched):
    folder = fake_job.save(tmp_path / "job", searched, [])
    console = Console(file=io.StringIO(), width=120)
    report.print_table(report.write(folder), folder, console)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert "mrpc dtvg 80.50 90.00*".split() in lines
    assert "rte dtvg 61.00* 55.00 to 50 1 failed".split() in lines
