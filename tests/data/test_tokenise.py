"""What is truncated of a text, and where the ends go; by hand with bytes as ids."""

import fake_table
import pytest

from dtvg_jax.data.tokenise import TextRow, chunks, tokenise

ENCODER = fake_table.ByteVocabulary()
PROMPTED = fake_table.ByteVocabulary(prefix_ids=(0,), input_suffix=" L: ")


@pytest.mark.parametrize(
    "vocabulary, text, length, want, cut",
    [
        (ENCODER, "abc", 8, "abc|", 0),
        (ENCODER, "abc", 4, "abc|", 0),
        (ENCODER, "abcd", 4, "abc|", 1),
        (ENCODER, "", 4, "|", 0),
        (ENCODER, "abc", 1, "|", 1),
        (PROMPTED, "abc", 8, "^abc L: ", 0),
        (PROMPTED, "abcd", 8, "^abc L: ", 1),
        (PROMPTED, "abcdefghij", 8, "^abc L: ", 1),
        (PROMPTED, "", 8, "^ L: ", 0),
        (PROMPTED, "abc", 5, "^ L: ", 1),
    ],
)
def test_inputs(vocabulary, text, length, want, cut):
    got = tokenise([TextRow(text, "1", "1")], vocabulary, (length, 4))
    assert fake_table.text_of(got.inputs[0]) == want
    assert sum(got.inputs_truncated) == cut


@pytest.mark.parametrize(
    "text, want, cut", [("10", "10|", 0), ("100", "100|", 0), ("1000", "100|", 1)]
)
@pytest.mark.parametrize("vocabulary", [ENCODER, PROMPTED])
def test_targets_always_end(vocabulary, text, want, cut):
    got = tokenise([TextRow("a", text, text)], vocabulary, (8, 4))
    assert fake_table.text_of(got.targets[0]) == want
    assert sum(got.targets_truncated) == cut


def test_chunks_take_no_more_than_they_give():
    taken = []

    def rows():
        for row in fake_table.rows(7):
            taken.append(row)
            yield row

    for chunk, count in zip(chunks(rows(), 3), (3, 6, 7), strict=True):
        assert len(taken) == count
        assert chunk == taken[-len(chunk) :]
