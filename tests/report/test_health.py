"""Signs that a lane did not learn, by values worked out by hand."""

import json

import numpy as np
import pytest
from fake_job import row, small, written

from dtvg_jax.report import health
from dtvg_jax.report.records import ResultRow, Sign
from dtvg_jax.training.metrics_log import TrainRecord


def steps(losses, method="dtvg", **more):
    """A record of mrpc, seed 0, for each of these losses."""
    about = {"kind": "train", "program": "p", "lane": "l", "stage": 2, "task": "mrpc"}
    about |= {"method": method, "seed": 0, "grad_norm": 1.0}
    return [
        about | {"step": 10 * (i + 1), "loss": loss} | more
        for i, loss in enumerate(losses)
    ]


def signs(losses=(), **values):
    made = row("mrpc", "dtvg", 0, 50.0, **values)
    records = [
        TrainRecord(**{k: v for k, v in one.items() if k != "kind"})
        for one in steps(losses)
    ]
    found = health.problems([ResultRow(**made)], records)
    return [(one.sign, one.seen) for one in found]


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        # thirds of two losses each: 0.5 and 0.7; 0.6 and 0.6; 0.6 and 0.5
        ([0.4, 0.6, 9.0, 9.0, 0.8, 0.6], (0.5, 0.7)),
        ([0.6, 0.6, 0.1, 0.1, 0.6, 0.6], (0.6, 0.6)),
        ([0.6, 0.6, 0.6, 0.6, 0.6, 0.4], None),
        ([0.01, 0.01, 0.0, 0.0, 0.05, 0.05], None),  # risen, and still learned
        ([0.5, 0.5, 0.5, 0.5, 0.5], None),  # too few to tell
    ],
)
def test_a_loss_that_never_falls(losses, said):
    assert health.loss_stays(losses) == (said and pytest.approx(said))
    assert [sign for sign, _ in signs(losses)] == [Sign.LOSS_STAYS] * bool(said)


@pytest.mark.parametrize(
    ("answers", "golds", "answer"),
    [
        (["0", "0", "0"], ["0", "1", "0"], "0"),
        (["", "", ""], ["0", "1", "0"], ""),
        (["0", "1", "0"], ["0", "0", "1"], None),
        (["0", "0", "0"], ["0", "0", "0"], None),  # right: nothing else is asked
        (["0", "0"], [["a", "b"], ["c"]], "0"),
    ],
)
def test_one_answer_for_all_rows(answers, golds, answer):
    assert health.only_answer(answers, golds) == answer
    seen = (
        [] if answer is None else [(Sign.ONE_ANSWER, f"{answer!r} to all 3 test rows")]
    )
    assert signs(only_answer=answer, examples=3) == seen


def test_a_prompt_that_explodes():
    prompt, p_init = np.array([[300.0, 400.0]]), np.array([[0.0, 4.0]])
    assert health.growth(prompt, prompt - p_init) == 125.0  # norms 500 and 4
    assert signs(growth=99.0) == []
    assert signs(growth=125.0) == [(Sign.NORM_EXPLODES, "125 times the norm of P_init")]


def test_numbers_that_are_not_finite_are_the_only_sign_of_their_lane():
    losses = [0.5, 0.5, None, None, 0.5, 0.5]
    found = signs(losses, failed="its loss was not finite", growth=1e9)
    assert found == [(Sign.NOT_FINITE, "seen at step 30")]
    assert signs(failed="cut") == [(Sign.NOT_FINITE, "cut")]


def test_problems_are_in_the_table_the_report_and_the_results(tmp_path):
    made = small()
    made["rows"][2] |= {"only_answer": "0"}  # mrpc dtvg 0
    made["rows"][3] |= {"only_answer": "0", "growth": 250.0}  # mrpc dtvg 1
    report, text = written(tmp_path, made, steps([0.7] * 6))
    assert (
        "| mrpc | dtvg | accuracy | 74.00 | 4.24 | 2 | 400 | 50.00 | - | +2.00 noise | "
        "the loss does not fall (1), one answer to everything (2), the prompt explodes "
        "(1) |" in text
    )
    assert "- **problems**: how many of the seeds" in text
    assert (
        "- mrpc, dtvg, seed 0, stage 2: one answer to everything ('0' to all 400 test "
        "rows); train longer" in text
    )
    said = json.loads((tmp_path / "job" / "results.json").read_text())["problems"]
    assert said[0]["sign"] == "the loss does not fall"
    assert len(said) == len(report.summary.problems) == 4


def test_a_job_without_problems_has_neither_column_nor_section(tmp_path):
    _, text = written(tmp_path, small(), steps([0.7, 0.7, 0.7, 0.3, 0.3, 0.3]))
    assert "problems" not in text and "## Problems" not in text
