"""Scores of decoded predictions against gold answers, as plain functions.

Each is a SeqIO metric function: `metric(targets, predictions)` takes what the functions
of `tasks.postprocess` return and gives scores in per cent by name. Nothing here imports
SeqIO or TensorFlow. Labels are texts, digits or words: the gold texts say which.
"""

import collections
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence

import scipy.stats
import sklearn.metrics

Scores = dict[str, float]

# The two labels of tasks scored by F1, the positive one second.
_PAIRS = (
    ("0", "1"),
    ("False", "True"),
    ("not_duplicate", "duplicate"),
    ("not_equivalent", "equivalent"),
)
_TRIPLES = (("0", "1", "2"), ("entailment", "contradiction", "neutral"))


def accuracy(targets: Sequence[str], predictions: Sequence[str]) -> Scores:
    """Score the share of predictions equal to their label; invalid ones are wrong."""
    _check(targets, predictions)
    right = sum(t == p for t, p in zip(targets, predictions, strict=True))
    return {"accuracy": 100 * right / len(targets)}


def f1(
    targets: Sequence[str],
    predictions: Sequence[str],
    labels: Sequence[str] | None = None,
) -> Scores:
    """Score F1 of the positive label.

    A prediction that is not a label counts as the opposite of its gold label, as in the
    reference.

    Args:
      targets: gold labels.
      predictions: one text for each row.
      labels: of a task of your own, the positive one second; None: the catalogue's.

    Raises:
      ValueError: where a gold text is not a label of a two-class task.
    """
    _check(targets, predictions)
    pairs = [tuple(labels)] if labels else _PAIRS
    gold, predicted = [], []
    for target, prediction in zip(targets, predictions, strict=True):
        pair = _labels_with([target], pairs)
        gold.append(pair.index(target))
        valid = prediction in pair
        predicted.append(pair.index(prediction) if valid else 1 - gold[-1])
    score = sklearn.metrics.f1_score(gold, predicted, zero_division=0)  # pyright: ignore[reportArgumentType]
    return {"f1": 100 * float(score)}


def f1_multiclass(
    targets: Sequence[str],
    predictions: Sequence[str],
    labels: Sequence[str] | None = None,
) -> Scores:
    """Score the mean of the F1 of all labels; an invalid prediction is a miss.

    Args:
      targets: gold labels.
      predictions: one text for each row.
      labels: of a task of your own; None: three labels of the catalogue.

    Raises:
      ValueError: where a gold text is not a label of the task.
    """
    _check(targets, predictions)
    score = sklearn.metrics.fbeta_score(
        list(targets),
        list(predictions),
        beta=1,
        labels=list(_labels_with(targets, [tuple(labels)] if labels else _TRIPLES)),
        average="macro",
        zero_division=0,  # pyright: ignore[reportArgumentType]
    )
    return {"f1_multiclass": 100 * float(score)}


def matthews_correlation(targets: Sequence[str], predictions: Sequence[str]) -> Scores:
    """Score Matthews' correlation; invalid predictions are further classes.

    Constant predictions, or gold labels, score 0.
    """
    _check(targets, predictions)
    if len(set(targets)) == 1 or len(set(predictions)) == 1:
        return {"matthews_correlation": 0.0}
    score = sklearn.metrics.matthews_corrcoef(list(targets), list(predictions))
    return {"matthews_correlation": 100 * float(score)}


def pearson(targets: Sequence[str], predictions: Sequence[str]) -> Scores:
    """Score the linear correlation of numbers written as texts.

    A text that is not a finite number counts as -1, as in the reference; constants
    score 0.
    """
    return {"pearson": _correlation(scipy.stats.pearsonr, targets, predictions)}


def spearmanr(targets: Sequence[str], predictions: Sequence[str]) -> Scores:
    """Score the correlation of the ranks of numbers; see `pearson`."""
    return {"spearmanr": _correlation(scipy.stats.spearmanr, targets, predictions)}


def multirc(targets: Sequence[Mapping[str, str]], predictions: Sequence[str]) -> Scores:
    """Score F1 over answers, and exact match: questions with every answer right.

    Args:
      targets: of each answer, its `label` and the name of its question as `group`.
      predictions: a label's text for each answer.
    """
    _check(targets, predictions)
    labels = [target["label"] for target in targets]
    right: dict[str, bool] = {}
    for target, prediction in zip(targets, predictions, strict=True):
        group = target["group"]
        right[group] = right.get(group, True) and prediction == target["label"]
    return f1(labels, predictions) | {"em": 100 * sum(right.values()) / len(right)}


def squad(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> Scores:
    """Score token F1 and exact match of answers, each the best over the gold answers.

    Both are those of the official SQuAD script, also where both texts are empty once
    normalised: an exact match of no common token.

    Args:
      targets: the gold answers of each row, written as the row's target was.
      predictions: one text for each row.

    Raises:
      ValueError: where a row has no gold answer.
    """
    _check(targets, predictions)
    common, exact = [], []
    for row, (answers, prediction) in enumerate(zip(targets, predictions, strict=True)):
        if not answers:
            raise ValueError(f"row {row} has no gold answer, so it cannot be scored")
        guess = _normalise(prediction)
        golds = [_normalise(answer) for answer in answers]
        common.append(max(_token_f1(gold, guess) for gold in golds))
        exact.append(guess in golds)
    return {
        "f1": 100 * sum(common) / len(common),
        "em": 100 * sum(exact) / len(exact),
    }


def _check(targets: Sequence[object], predictions: Sequence[object]) -> None:
    if not targets or len(targets) != len(predictions):
        raise ValueError(
            f"{len(targets)} gold answers and {len(predictions)} predictions cannot be "
            "scored: there must be one of each for every row, and at least one row"
        )


def _labels_with(
    golds: Sequence[str], conventions: Sequence[tuple[str, ...]]
) -> tuple[str, ...]:
    for labels in conventions:
        if set(golds) <= set(labels):
            return labels
    strange = min(set(golds).difference(*conventions) or golds)
    known = " or ".join(map(str, conventions))
    raise ValueError(
        f"the gold label {strange!r} is none of {known}: give the metric those of "
        "your task, as functools.partial(metrics.f1, labels=['bad', 'good'])"
    )


def _correlation(
    correlate: Callable, targets: Sequence[str], predictions: Sequence[str]
) -> float:
    _check(targets, predictions)
    gold, guess = [_number(t) for t in targets], [_number(p) for p in predictions]
    if len(set(gold)) == 1 or len(set(guess)) == 1:
        return 0.0
    return 100 * float(correlate(gold, guess).statistic)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return -1.0
    return number if math.isfinite(number) else -1.0


def _normalise(text: str) -> str:
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def _token_f1(gold: str, guess: str) -> float:
    golds, guesses = gold.split(), guess.split()
    same = (collections.Counter(golds) & collections.Counter(guesses)).total()
    # 2 / (1 / precision + 1 / recall), without dividing by nothing
    return 2 * same / (len(golds) + len(guesses)) if same else 0.0
