"""Scores by the functions of a task."""

import functools

import fake_table
import pytest

from dtvg_jax.data import scoring
from dtvg_jax.data.catalogue import Scoring
from dtvg_jax.data.tokenise import TextRow
from dtvg_jax.errors import InputError


def accuracy(targets, predictions):
    equal = [t == p for t, p in zip(targets, predictions, strict=True)]
    return {"accuracy": 100 * sum(equal) / len(equal)}


def ones(targets, predictions):
    return {"ones": float(predictions.count("1")), "rows": len(targets)}


def stripped(text, example=None, is_target=False):
    assert example is None and not is_target
    return text.strip()


def table_of(folder, golds, **changes):
    rows = [TextRow("a", str(gold), gold) for gold in golds]
    functions = {"metrics": (accuracy,), "postprocess": stripped}
    return fake_table.make(folder, rows, scoring=Scoring(**functions | changes))


@pytest.mark.parametrize(
    "metrics, listed, want",
    [
        ([accuracy], None, {"accuracy": 75.0, "mean": 75.0}),
        (
            [accuracy, ones],
            None,
            {"accuracy": 75.0, "ones": 3.0, "rows": 4.0, "mean": 82 / 3},
        ),
        (
            [accuracy, ones],
            ("ones", "accuracy", "absent"),
            {"accuracy": 75.0, "ones": 3.0, "rows": 4.0, "mean": 39.0},
        ),
    ],
)
def test_score(tmp_path, metrics, listed, want):
    golds = ["1", "0", "1", "0"]
    how = {"metrics": tuple(metrics), "metric_names": listed}
    table = table_of(tmp_path / "t", golds, **how)
    assert scoring.score(table, [" 1", "1", "1 ", "0"]) == pytest.approx(want)


def test_without_postprocessor_predictions_are_taken_as_they_are(tmp_path):
    table = table_of(tmp_path / "t", ["1", "0"], postprocess=None)
    assert scoring.score(table, ["1", "0 "])["accuracy"] == 50.0


def test_every_row_needs_a_prediction(tmp_path):
    table = table_of(tmp_path / "t", ["1", "0"])
    with pytest.raises(ValueError, match="1 predictions for 2 rows"):
        scoring.score(table, ["1"])


def test_metrics_that_return_nothing_listed_are_a_sentence(tmp_path):
    table = table_of(tmp_path / "t", ["1"], metric_names=("f1", "em"))
    with pytest.raises(InputError, match="metrics of task 'toy' returned none of f1"):
        scoring.score(table, ["1"])


def test_majority(tmp_path):
    train = table_of(tmp_path / "train", ["2", "0", "2"])
    test = table_of(tmp_path / "test", ["2", "0", "1", "0"])
    assert scoring.majority(train, test) == {"accuracy": 25.0, "mean": 25.0}
    lists = table_of(tmp_path / "lists", [["a"], ["b"]])
    assert scoring.majority(lists, test) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "high"])
def test_a_metric_that_is_no_finite_number_is_named(tmp_path, value):
    metrics = (lambda *_: {"accuracy": value},)
    table = table_of(tmp_path / "t", ["1", "0"], metrics=metrics)
    with pytest.raises(InputError, match="'accuracy' of task '.*' is .* must be a fin"):
        scoring.score(table, ["1", "0"])


def fails(*_, **__):
    raise KeyError("group")


LINE = r"KeyError: 'group' \(test_scoring.py, line \d+\)"


@pytest.mark.parametrize(
    "changes, what, why",
    [
        ({"metrics": (fails,)}, "metric function 'fails'", LINE),
        (
            {"metrics": (functools.partial(fails, 1),)},
            "metric function 'fails'",
            LINE,
        ),
        ({"metrics": (lambda *_: 3.0,)}, "metric function '<lambda>'", "TypeError: "),
        ({"postprocess": fails}, "postprocessor", LINE),
    ],
)
def test_what_a_function_of_a_task_raises_is_a_sentence(tmp_path, changes, what, why):
    table = table_of(tmp_path / "t", ["1", "0"], **changes)
    sentence = f"the {what} of task 'toy' fails on the split 'train': {why}"
    with pytest.raises(InputError, match=sentence):
        scoring.score(table, ["1", "0"])
