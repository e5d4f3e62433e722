"""Scores predicted texts against the gold answers of a table, by the task's metrics."""

import collections
import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence

from dtvg_jax import errors
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import InputError


def score(table: TokenTable, predictions: Sequence[str]) -> dict[str, float]:
    """Scores one prediction per row of `table`, in row order.

    Returns:
      Every value of the task's metrics by name, and "mean": the plain mean of those
      that the catalogue lists for the task (of all, for a task outside it).

    Raises:
      ValueError: where there is not one prediction per row.
      InputError: where a function of the task fails, or gives no finite number.
    """
    if len(predictions) != len(table):
        raise ValueError(f"{len(predictions)} predictions for {len(table)} rows")
    answers = list(predictions)
    how = table.scoring
    if postprocess := how.postprocess:
        with _of_task(table, "postprocessor"):
            answers = [postprocess(a, example=None, is_target=False) for a in answers]
    values: dict[str, object] = {}
    for metric in how.metrics:
        name = getattr(getattr(metric, "func", metric), "__name__", metric)
        with _of_task(table, f"metric function '{name}'"):
            values |= metric(table.golds, answers)
    scores = {name: _finite(table, name, value) for name, value in values.items()}
    counted = [n for n in how.metric_names or scores if n in scores]
    if not counted:
        raise InputError(
            f"the metrics of task '{table.name}' returned none of "
            f"{', '.join(how.metric_names or ['any name'])}"
        )
    return scores | {"mean": sum(scores[n] for n in counted) / len(counted)}


def _finite(table: TokenTable, metric: str, value: object) -> float:
    """Converts a metric's value to a finite number; NaN could not be compared."""
    try:
        number = float(value)  # pyright: ignore[reportArgumentType] (a user's value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(
            f"the metric '{metric}' of task '{table.name}' is {value!r} on the split "
            f"'{table.split}': it must be a finite number; return 0 where the metric "
            "is not defined"
        )
    return number


def primary_metric(table: TokenTable, scores: Mapping[str, float]) -> str:
    """Names the metric that a task is reported by: the first of its own."""
    return (table.scoring.metric_names or tuple(scores))[0]


def majority(train: TokenTable, test: TokenTable) -> dict[str, float] | None:
    """Scores the answer that is most frequent in `train` on every row of `test`.

    Returns:
      None where gold answers are not single texts, so that none is most frequent.
    """
    texts = [gold for gold in train.golds if isinstance(gold, str)]
    if len(texts) < len(train):
        return None
    [(answer, _)] = collections.Counter(texts).most_common(1)
    return score(test, [answer] * len(test))


@contextlib.contextmanager
def _of_task(table: TokenTable, what: str) -> Iterator[None]:
    """Converts what a function of a task raises into an InputError."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"the {what} of task '{table.name}' fails on the split '{table.split}': "
            f"{errors.describe(error)}"
        ) from error
