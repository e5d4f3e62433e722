"""Predictions of many prompts on many splits at once: those of each alone, in order."""

import functools

import fake_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dtvg_jax.errors import InputError
from dtvg_jax.inference import split_decoding
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.t5 import T5Config
from dtvg_jax.training import placement

LENGTHS = (8, 4)
TINY = T5Config(
    vocab_size=258,
    d_model=16,
    d_kv=4,
    num_heads=2,
    d_ff=32,
    num_layers=1,
    num_decoder_layers=1,
)


class Vocabulary(fake_table.ByteVocabulary):
    """Spells ids as numbers, so that no two answers look alike."""

    def decode(self, ids):
        return [" " + " ".join(str(i) for i in row if i >= 0) + " " for row in ids]


@functools.cache
def backbone() -> backbones.Backbone:
    params = backbones.init_params(TINY, jax.random.key(1))
    return backbones.build("tiny", TINY, params, Vocabulary(), "")


@functools.cache
def decode():
    return split_decoding.make_decode(backbone(), LENGTHS[1])


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return [
        fake_table.make(folder / str(n), fake_table.rows(n), task=f"task{n}")
        for n in (3, 10, 29)
    ]


def predict(pairs, check=lambda: None):
    prompts = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    setup = split_decoding.Setup(backbone(), placement.make(), 4, LENGTHS, check)
    return split_decoding.predict(decode(), setup, prompts, pairs)


def test_pairs_together_are_answered_as_each_alone(tables):
    pairs = [split_decoding.Pair(k % 2, table) for k, table in enumerate(tables * 2)]
    together = predict(pairs)
    assert [len(texts) for texts in together] == [3, 10, 29] * 2
    assert together == [predict([pair])[0] for pair in pairs]
    assert together[2] != together[5]  # the same split by another prompt


def test_answers_are_those_of_single_rows_stripped(tables):
    [texts] = predict([split_decoding.Pair(1, tables[1])])
    prompts = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    table = tables[1]
    for row, text in enumerate(texts):
        ids = table.inputs[table.input_offsets[row] : table.input_offsets[row + 1]]
        inputs = np.full((1, LENGTHS[0]), -1, np.int32)
        inputs[0, : len(ids)] = ids
        out = decode()(backbone().params, jnp.asarray(prompts[1]), inputs)
        assert text == " ".join(str(i) for i in out[0].tolist() if i >= 0)
        assert text == text.strip()


def test_check_is_called_between_batches(tables):
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("stop")

    with pytest.raises(KeyError):
        pairs = [split_decoding.Pair(0, tables[2])] * 2
        predict(pairs, check)  # 16 blocks: two batches


def test_rows_that_cannot_be_spread_are_a_sentence(tables):
    prompts = np.zeros((1, 3, 16), np.float32)
    setup = split_decoding.Setup(backbone(), placement.make(), 3, LENGTHS)
    with pytest.raises(InputError, match="evaluation_batch_size = 3: rows cannot be"):
        split_decoding.predict(
            decode(), setup, prompts, [split_decoding.Pair(0, tables[0])]
        )
