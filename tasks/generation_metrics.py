"""Scores of generated texts, by the formulas of the reference: 0 to 1, four decimals.

Targets are lists of reference texts. The values of sacrebleu and rouge-score stand
beside those of the reference, under names of their own.
"""

import collections
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import sacrebleu
from nltk.translate import meteor_score
from rouge_score import rouge_scorer

from . import wordnet

Scores = dict[str, float]
References = Sequence[Sequence[str]]

_CONTRACTION = re.compile(r"(n't|'(?:s|re|ve|ll|d|m))\b")
_TOKEN = re.compile(r"n't\b|'(?:s|re|ve|ll|d|m)\b|\d+(?:[.,]\d+)+|\w+|[^\w\s]")
_MAX_ORDER = 4


def bleu(targets: References, predictions: Sequence[str]) -> Scores:
    """Score corpus BLEU-4 without smoothing, against the shortest reference's length.

    `sacrebleu_bleu` is that of sacrebleu, divided by 100.
    """
    _check(targets, predictions)
    matches, totals = [0] * _MAX_ORDER, [0] * _MAX_ORDER
    length = reference_length = 0
    for texts, prediction in zip(targets, predictions, strict=True):
        guess = tokens(prediction)
        golds = [tokens(text) for text in texts]
        length += len(guess)
        reference_length += min(map(len, golds))
        for order in range(1, _MAX_ORDER + 1):
            found = _ngrams(guess, order)
            known: collections.Counter = collections.Counter()
            for gold in golds:
                known |= _ngrams(gold, order)
            matches[order - 1] += (found & known).total()
            totals[order - 1] += found.total()
    score = 0.0
    if min(matches) > 0:
        ratios = [m / t for m, t in zip(matches, totals, strict=True)]
        mean = math.exp(sum(map(math.log, ratios)) / _MAX_ORDER)
        score = mean * math.exp(min(0.0, 1 - reference_length / length))
    # sacrebleu takes references by their place, with None where a row has fewer
    columns = [list(column) for column in itertools.zip_longest(*targets)]
    theirs = sacrebleu.corpus_bleu(list(predictions), columns).score / 100  # pyright: ignore[reportArgumentType]
    return {"bleu": round(score, 4), "sacrebleu_bleu": round(theirs, 4)}


def rouge(targets: References, predictions: Sequence[str]) -> Scores:
    """Score ROUGE-1, -2 and -L: best F1 over a row's references, mean over rows.

    As in the reference, words are what single spaces part, in lower case, and n-grams
    are sets, without counts. `rouge_score_*` are those of rouge-score.
    """
    _check(targets, predictions)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    sums: dict[str, float] = collections.defaultdict(float)
    for texts, prediction in zip(targets, predictions, strict=True):
        guess = prediction.lower().split(" ")
        golds = [text.lower().split(" ") for text in texts]
        for order in (1, 2):
            sums[f"rouge{order}"] += max(_set_f1(gold, guess, order) for gold in golds)
        sums["rougeL"] += max(_sequence_f1(gold, guess) for gold in golds)
        for name, score in scorer.score_multi(texts, prediction).items():
            sums[f"rouge_score_{name}"] += score.fmeasure
    return {name: round(total / len(targets), 4) for name, total in sums.items()}


def meteor(targets: References, predictions: Sequence[str]) -> Scores:
    """Score METEOR: exact words, Porter's stems and synonyms of WordNet.

    Without WordNet (see `tasks.wordnet`) the score knows no synonyms, and is called
    `meteor_nosyn`.
    """
    _check(targets, predictions)
    if synonyms := wordnet.reader():
        try:
            return {"meteor": _mean_meteor(targets, predictions, synonyms)}
        except Exception as error:  # the texts are fine: WordNet's files are not
            wordnet.say_damaged(error)
    return {"meteor_nosyn": _mean_meteor(targets, predictions, _NoSynonyms())}


def tokens(text: str) -> list[str]:
    """Split lower-cased text at punctuation and before contractions ("is", "n't")."""
    return _TOKEN.findall(_CONTRACTION.sub(r" \1", text.lower()))


class _NoSynonyms:
    """Stands in for WordNet where it is not installed."""

    def synsets(self, word: str) -> list:
        del word
        return []


def _mean_meteor(
    targets: References, predictions: Sequence[str], synonyms: Any
) -> float:
    scores = [
        meteor_score.meteor_score(
            [tokens(text) for text in texts], tokens(prediction), wordnet=synonyms
        )
        for texts, prediction in zip(targets, predictions, strict=True)
    ]
    return round(sum(scores) / len(scores), 4)


def _check(targets: References, predictions: Sequence[str]) -> None:
    if not targets or len(targets) != len(predictions) or not all(targets):
        raise ValueError(
            f"{len(predictions)} texts cannot be scored against the references of "
            f"{len(targets)} rows: there must be one text for every row, at least one "
            "row, and at least one reference in each"
        )


def _ngrams(words: Sequence[str], order: int) -> collections.Counter:
    parts = (tuple(words[i : i + order]) for i in range(len(words) - order + 1))
    return collections.Counter(parts)


def _set_f1(gold: Sequence[str], guess: Sequence[str], order: int) -> float:
    golds, guesses = set(_ngrams(gold, order)), set(_ngrams(guess, order))
    common = len(golds & guesses)
    return 2 * common / (len(golds) + len(guesses)) if common else 0.0


def _sequence_f1(gold: Sequence[str], guess: Sequence[str]) -> float:
    lengths = [0] * (len(guess) + 1)
    for word in gold:
        before = 0  # the longest common subsequence of what stood up to here
        for i, other in enumerate(guess, start=1):
            found = before + 1 if word == other else max(lengths[i], lengths[i - 1])
            before, lengths[i] = lengths[i], found
    return 2 * lengths[-1] / (len(gold) + len(guess)) if lengths[-1] else 0.0
