"""What a vocabulary changes, cannot give back or makes the same, counted and said."""

import dataclasses
import logging

import fake_table
import pytest

from dtvg_jax.data import scoring, spelling, token_table, token_table_files
from dtvg_jax.data.catalogue import Scoring
from dtvg_jax.data.tokenise import TextRow
from dtvg_jax.errors import InputError
from dtvg_jax.formats.load import load_backbone


class Lossy(fake_table.ByteVocabulary):
    """Knows one space and one z, and no braces."""

    def encode(self, texts):
        plain = [" ".join(t.replace("ﬁ", "fi").split()) for t in texts]
        return super().encode([t.replace("{", "?").replace("}", "?") for t in plain])


ROWS = [
    TextRow("abcdefgh", "very  good", "very  good"),
    TextRow("b", "{y}", "{y}"),
    TextRow("c", "ﬁne", ["ﬁne", "a  b", "}"]),
    TextRow("d", "day", {"label": "a  b"}),
]


def test_golds_are_spelled_as_answers_are_where_nothing_is_lost(tmp_path):
    table = fake_table.make(tmp_path / "t", ROWS, Lossy(), (8, 16))
    assert table.golds == [
        "very good",
        "{y}",
        ["fine", "a b", "}"],
        {"label": "a  b"},
    ]


def test_an_answer_that_differs_in_spelling_alone_is_right(tmp_path):
    def equal(golds, answers):
        same = sum(g == a for g, a in zip(golds, answers, strict=True))
        return {"equal": same}

    vocabulary = Lossy()
    table = fake_table.make(
        tmp_path / "t", ROWS[:2], vocabulary, (8, 16), scoring=Scoring((equal,))
    )
    # The best answers: the targets, decoded. The braces are lost, and stay wrong.
    answers = vocabulary.decode(vocabulary.encode([row.targets for row in ROWS[:2]]))
    assert answers == ["very good", "?y?"]
    assert scoring.score(table, answers)["equal"] == 1


def test_losses_are_counted(tmp_path):
    table = fake_table.make(tmp_path / "t", ROWS, Lossy(), (8, 5))
    assert token_table.losses(table) == (0.25, 0.25, 0.25)
    assert token_table.losses(token_table.head(table, 1)) == (0.25, 0.25, 0.25)


def test_the_miniature_says_what_it_cannot_give_back():
    vocabulary = load_backbone("miniature").vocabulary
    texts = ["good", "the  novel ", "{yes}", "", "x </s> y"]
    known = spelling.spelling(texts, vocabulary)
    assert known == {
        "good": "good",
        "the  novel ": "the novel",
        "{yes}": None,
        "": "",
        "x </s> y": None,
    }


@pytest.mark.parametrize(
    "targets, length, sentence",
    [
        (["very good", "very bad"], 6, "'very good' and 'very bad' are the same 6 tok"),
        (["very good", "very bad"], 6, "tell them apart: set targets_length = 10"),
        (["{", "}"], 6, "choose others, this vocabulary lacks what tells them apart"),
        (["very good", "very bad"], 10, None),
        (["good  day", "good day"], 10, None),  # one class, spelled in two ways
    ],
)
def test_classes_that_become_the_same_are_refused(tmp_path, targets, length, sentence):
    rows = [TextRow("a", target, target) for target in targets * 2]
    make = lambda: fake_table.make(tmp_path / "t", rows, Lossy(), (8, length))
    if sentence is None:
        assert len(make()) == 4
        return
    with pytest.raises(InputError, match=f"split 'train' of task 'toy': .*{sentence}"):
        make()
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("different, rows", [(3, 4), (70, 200)])
def test_texts_that_are_no_classes_may_be_truncated_to_the_same(
    tmp_path, different, rows
):
    targets = [f"a long answer {i % different}" for i in range(rows)]
    made = [TextRow("a", target, target) for target in targets]
    table = fake_table.make(tmp_path / "t", made, lengths=(8, 4))
    assert token_table.losses(table).targets_truncated == 1.0


def test_losses_are_said_in_a_line_where_there_are_any(tmp_path, caplog):
    table = fake_table.make(tmp_path / "t", ROWS, Lossy(), (8, 5))
    whole = dataclasses.replace(
        table.metadata, inputs_truncated=0, targets_truncated=0, targets_unreadable=0
    )
    with caplog.at_level(logging.WARNING):
        token_table.log_losses(dataclasses.replace(table, metadata=whole), (8, 5))
        token_table.log_losses(table, (8, 5))
    assert caplog.messages == [
        "toy train: 25 % of inputs are truncated to 8 tokens, 25 % of targets are "
        "truncated to 5, 25 % of targets cannot be given back by the vocabulary"
    ]


def test_answers_that_are_texts_may_be_alike(tmp_path):
    rows = [TextRow("a", text, text) for text in ("very good", "very bad") * 4]
    origin = token_table_files.Origin("toy", "train", {})
    given = (rows, fake_table.ByteVocabulary(), (8, 4), origin)
    with pytest.raises(InputError, match="'very good' and 'very bad' are the same"):
        token_table_files.write(tmp_path / "classes", *given)
    token_table_files.write(tmp_path / "texts", *given, free_answers=True)
    assert (tmp_path / "texts").is_dir() and not (tmp_path / "classes").exists()
