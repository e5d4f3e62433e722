"""Scores against values worked out by hand, or given with the reference's code."""

import functools
import subprocess
import sys

import pytest

from tasks import generation_metrics, metrics, postprocess

OWN_F1 = functools.partial(metrics.f1, labels=["bad", "good"])
PADDED = ["U . S .", "the United States"]


@pytest.mark.parametrize(
    ("metric", "targets", "predictions", "expected"),
    [
        (metrics.accuracy, "0110", "01x0", {"accuracy": 75.0}),
        (metrics.accuracy, ["not_entailment"], ["entailment"], {"accuracy": 0.0}),
        (metrics.accuracy, "12", ["", "2"], {"accuracy": 50.0}),
        # one true positive, one missed (the invalid one): 2 / (2 + 1)
        (metrics.f1, "0110", "01x0", {"f1": 200 / 3}),
        # an invalid prediction on a negative row is a false positive: 2 / (2 + 1)
        (metrics.f1, "01", ["", "1"], {"f1": 200 / 3}),
        (metrics.f1, "11", "00", {"f1": 0.0}),
        (metrics.f1, "00", "00", {"f1": 0.0}),
        (
            metrics.f1,
            ["not_duplicate", "duplicate", "duplicate"],
            ["duplicate", "duplicate", "1"],  # a digit is no word
            {"f1": 50.0},
        ),
        (
            metrics.f1,
            ["equivalent", "not_equivalent"],
            ["equivalent", "not_equivalent"],
            {"f1": 100.0},
        ),
        # one true positive, one false, one missed (no label): 2 / (2 + 1 + 1)
        (OWN_F1, ["good", "bad", "good"], ["good", "good", "x"], {"f1": 50.0}),
        (
            functools.partial(metrics.f1_multiclass, labels=["a", "b", "c", "d"]),
            "abcd",
            "abcx",
            {"f1_multiclass": 75.0},
        ),
        # a third class, not the opposite of the gold label (57.74)
        (metrics.matthews_correlation, "0110", "01x0", {"matthews_correlation": 67.08}),
        # (2*1 - 0*1) / sqrt(2 * 3 * 1 * 2)
        (metrics.matthews_correlation, "1110", "1100", {"matthews_correlation": 57.74}),
        (metrics.matthews_correlation, "0101", "1111", {"matthews_correlation": 0.0}),
        (metrics.matthews_correlation, "00", "00", {"matthews_correlation": 0.0}),
        (metrics.matthews_correlation, "01", "10", {"matthews_correlation": -100.0}),
        # 2/3, 2/3 and 0
        (metrics.f1_multiclass, "0120", "011x", {"f1_multiclass": 400 / 9}),
        # classes that never occur count as 0
        (metrics.f1_multiclass, "00", "00", {"f1_multiclass": 100 / 3}),
        (
            metrics.f1_multiclass,
            ["entailment", "contradiction", "neutral"],
            ["entailment", "contradiction", "neutral"],
            {"f1_multiclass": 100.0},
        ),
        # ranks 1 2 3 and 1 3 2; deviations -1 0 1 and -1 2 -1 over sqrt(2 * 6)
        (metrics.pearson, ["1.0", "2.0", "3.0"], ["0", "3", "0"], {"pearson": 0.0}),
        (metrics.spearmanr, ["1", "2", "3"], ["1", "9", "3"], {"spearmanr": 50.0}),
        (metrics.pearson, ["1", "2", "3"], ["2", "4", "6"], {"pearson": 100.0}),
        # nan, inf and words count as -1: deviations 2 -1 -1 against 1 0 -1
        (
            metrics.pearson,
            ["3", "2", "1"],
            ["5", "inf", "nan"],
            {"pearson": 86.60},
        ),
        (metrics.spearmanr, ["3", "1"], ["x", "-1.0"], {"spearmanr": 0.0}),
        (metrics.pearson, ["2.0"], ["2.0"], {"pearson": 0.0}),
        # question a all right; b half; c wrong (an invalid answer): F1 4 / (4 + 1 + 1)
        (
            metrics.multirc,
            [
                {"label": label, "group": group}
                for label, group in ("1a", "0a", "1b", "0b", "1c")
            ],
            ["1", "0", "1", "1", "?"],
            {"f1": 200 / 3, "em": 100 / 3},
        ),
        (metrics.squad, [["J . Doe"]], ["the j doe"], {"f1": 100.0, "em": 100.0}),
        # padded gold has two tokens "u s", plain prediction one, "us"
        (metrics.squad, [["U . S ."]], ["U.S."], {"f1": 0.0, "em": 0.0}),
        # best over the answers: "states" is 1 of 1 and 1 of 2 tokens
        (metrics.squad, [PADDED], ["States"], {"f1": 200 / 3, "em": 0.0}),
        (
            metrics.squad,
            [PADDED, ["Oslo"]],
            ["u s", "Bergen"],
            {"f1": 50.0, "em": 50.0},
        ),
        # repeated tokens count as often as both have them: 2 common of 2 and 3
        (metrics.squad, [["to be to"]], ["to to"], {"f1": 80.0, "em": 0.0}),
        # nothing left of both: an exact match without a common token
        (metrics.squad, [["the"]], ["an ."], {"f1": 0.0, "em": 100.0}),
    ],
)
def test_scores(metric, targets, predictions, expected):
    scores = metric(list(targets), list(predictions))
    assert scores == pytest.approx(expected, abs=0.005)
    assert list(scores) == list(expected)  # headline first


@pytest.mark.parametrize(
    ("metric", "targets", "predictions", "sentence"),
    [
        (metrics.accuracy, [], [], "at least one row"),
        (metrics.f1, ["0"], ["0", "1"], "1 gold answers and 2 predictions"),
        (metrics.f1, ["maybe"], ["0"], "gold label 'maybe' is none of"),
        (OWN_F1, ["fine"], ["good"], "gold label 'fine' is none of .'bad', 'good'"),
        (metrics.f1_multiclass, ["3"], ["0"], "gold label '3' is none of"),
        (metrics.squad, [["a"], []], ["a", "b"], "row 1 has no gold answer"),
    ],
)
def test_what_cannot_be_scored_is_refused(metric, targets, predictions, sentence):
    with pytest.raises(ValueError, match=sentence):
        metric(targets, predictions)


def test_gold_is_read_from_the_row_not_from_decoded_text():
    row = {"targets_pretokenized": "café".encode(), "answers": ["é".encode(), b"b"]}
    assert postprocess.label("caf ?", example=row, is_target=True) == "café"
    assert postprocess.answers("?", example=row, is_target=True) == ["é", "b"]
    assert postprocess.label(" 1 \n", example=row) == "1"
    assert postprocess.answers(" Oslo ", example=row) == "Oslo"


def test_scoring_imports_neither_seqio_nor_tensorflow():
    code = (
        "import sys, tasks.task_info, tasks.metrics, tasks.postprocess\n"
        "import tasks.generation_metrics\n"
        "sys.exit(sorted({'seqio', 'tensorflow', 'torch'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


MILL = [
    (
        "The Mill is a cheap pub near the river.",
        ["The Mill is a cheap pub by the river."],
    ),
    ("Aromi is a coffee shop.", ["Aromi is a family friendly coffee shop."]),
]


@pytest.mark.parametrize(
    ("metric", "pairs", "expected"),
    [
        (generation_metrics.bleu, MILL, {"bleu": 0.5288, "sacrebleu_bleu": 0.5288}),
        (
            generation_metrics.rouge,
            MILL,
            {"rouge1": 0.8542, "rouge2": 0.675, "rougeL": 0.8611},
        ),
        # 4 of 5, 3 of 4, 2 of 3 and 1 of 2 n-grams; 5 words against the shorter of 5
        # and 6, so no penalty: (4/5 * 3/4 * 2/3 * 1/2) ** 0.25
        (
            generation_metrics.bleu,
            [("a b c d x", ["a b c d e f", "v w y z u"])],
            {"bleu": 0.2**0.25},
        ),
        # sets of words, not counts: rouge-score says 2/3
        (
            generation_metrics.rouge,
            [("the cat the cat", ["the cat"])],
            {"rouge1": 1.0, "rouge_score_rouge1": 0.6667},
        ),
        # the better reference counts; longest common sequence 2 of 3 and 2
        (
            generation_metrics.rouge,
            [("a c", ["x", "A b c"])],
            {"rouge1": 0.8, "rouge2": 0.0, "rougeL": 0.8},
        ),
        (generation_metrics.bleu, [("", ["a"])], {"bleu": 0.0}),
        (generation_metrics.rouge, [("", ["a"])], {"rouge1": 0.0, "rougeL": 0.0}),
    ],
)
def test_scores_of_texts(metric, pairs, expected):
    predictions, targets = zip(*pairs, strict=True)
    scores = metric(targets, predictions)
    assert expected.items() <= scores.items() or scores == pytest.approx(
        scores | expected, abs=5e-5
    )


def test_tokens_split_contractions_and_keep_decimals():
    found = generation_metrics.tokens("It isn't 3.5, Tom's “pub”.")
    assert found == ["it", "is", "n't", "3.5", ",", "tom", "'s", "“", "pub", "”", "."]


def test_a_text_without_references_is_refused():
    with pytest.raises(ValueError, match="at least one reference in each"):
        generation_metrics.bleu([["a"], []], ["a", "b"])
