"""Predictions of many prompts on many splits at once: those of each alone, in order."""

import dataclasses
import functools
import itertools

import fake_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_t5

from dtvg_jax import methods
from dtvg_jax.formats import load
from dtvg_jax.inference import decoding, split_decoding
from dtvg_jax.methods import attempt
from dtvg_jax.methods.row_prompts import Prompts, RowPrompt
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.llama import LlamaConfig
from dtvg_jax.training import placement

LENGTHS = (8, 4)
TINY = dataclasses.replace(tiny_t5.CONFIG, vocab_size=258)


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
    return split_decoding.make_decode(backbone())


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return [
        fake_table.make(folder / str(n), fake_table.rows(n), task=f"task{n}")
        for n in (3, 10, 29)
    ]


def predict(pairs, check=lambda: None):
    prompts = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    setup = split_decoding.Setup(backbone(), placement.make(), 4, check)
    return split_decoding.predict(decode(), setup, Prompts(prompts), pairs)


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
        out = decode()(backbone().params, jnp.asarray(prompts[1]), inputs, 4)
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
        predict(pairs, check)  # 58 rows: two blocks of 32


def test_blocks_of_an_odd_number_of_rows_are_filled_for_two_devices(tables):
    prompts = Prompts(np.random.default_rng(0).normal(size=(2, 3, 16)).astype("f"))
    setup = split_decoding.Setup(backbone(), placement.make(), 3)
    assert setup.placement.row_parts == 2
    pairs = [split_decoding.Pair(k, table) for k, table in enumerate(tables[:2])]
    assert split_decoding.predict(decode(), setup, prompts, pairs) == predict(pairs)


LLAMA = LlamaConfig(
    vocab_size=258,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
)


def _mixed(count, most, vocabulary, answer):
    """Rows of 1 to `most` ids, in no order of length; answers have up to `answer`."""
    random = np.random.default_rng(count)
    sizes = random.integers(1, most + 1, count)
    ids = [random.integers(2, vocabulary, size).tolist() for size in sizes]
    return fake_table.of_ids(ids, [[1]] * count, (most, answer))


def _alone(b, prompt, table, lengths):
    """Decodes each row by itself, in one shape so that one program does."""
    greedy = jax.jit(
        lambda inputs: decoding.greedy(b, b.params, prompt, inputs, lengths[1]).tokens
    )
    found = []
    for start, end in itertools.pairwise(table.input_offsets):
        inputs = np.full((1, lengths[0]), -1, np.int32)
        inputs[0, : end - start] = table.inputs[start:end]
        found.extend(b.vocabulary.decode(greedy(inputs).tolist()))
    return [text.strip() for text in found]


@pytest.mark.parametrize(
    "config",
    [TINY, pytest.param(LLAMA, marks=pytest.mark.slow)],
    ids=["t5", "llama"],
)
def test_rows_of_mixed_lengths_are_answered_as_each_alone(config):
    params = backbones.init_params(config, jax.random.key(2))
    b = backbones.build("tiny", config, params, Vocabulary(), "")
    prompts = np.random.default_rng(1).normal(size=(2, 3, 16)).astype(np.float32)
    tables = [_mixed(25, 64, 258, 4), _mixed(15, 40, 258, 3)]
    pairs = [split_decoding.Pair(k, table) for k, table in enumerate(tables)]
    decode = split_decoding.make_decode(b)
    setup = split_decoding.Setup(b, placement.make(), 4)
    got = split_decoding.predict(decode, setup, Prompts(prompts), pairs)
    for k, table in enumerate(tables):
        assert got[k] == _alone(b, jnp.asarray(prompts[k]), table, (64, 4 - k))
    assert got[0][:15] != got[1]
    assert decode._cache_size() <= 5  # 32, 48 and 64 of the one, 32 and 48 of the other


def _looking(seed: int) -> RowPrompt:
    """A lane of ATTEMPT whose rows' prompts differ much."""
    rng = np.random.default_rng(seed)
    p_init, start, *sources = rng.normal(0, 4, size=(4, 3, 16)).astype(np.float32)
    context = methods.Context(
        *map(jnp.asarray, (p_init, np.stack(sources), start, np.ones(2, bool))),
        jnp.uint32(seed),
    )
    method = attempt.Attempt(size=4, tau=0.0)
    trainables, _ = method.init(context)
    # As after training: with the weights of the start rows are attended to alike.
    trainables |= {"down": 100 * trainables["down"], "up": 100 * trainables["up"]}
    return RowPrompt(method, trainables["prompt"], trainables, context)


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, LLAMA], ids=["t5", "llama"])
def test_rows_have_prompts_of_their_own_beside_those_that_have_not(config):
    params = backbones.init_params(config, jax.random.key(2))
    b = backbones.build("tiny", config, params, Vocabulary(), "")
    plain = np.random.default_rng(1).normal(size=(3, 16)).astype(np.float32)
    looking = {0: _looking(0), 2: _looking(1)}
    arrays = np.stack([looking[0].prompt, plain, looking[2].prompt])
    table = _mixed(20, 40, 258, 3)
    pairs = [split_decoding.Pair(k, table) for k in range(3)]
    setup = split_decoding.Setup(b, placement.make(), 4)
    decode = split_decoding.make_decode(b)
    got = split_decoding.predict(decode, setup, Prompts(arrays, looking), pairs)
    embedding = b.embedding(params)
    for k, lane in looking.items():
        ids = np.split(table.inputs, table.input_offsets[1:-1])
        made = [
            lane.of_rows(embedding[row][None], jnp.ones((1, len(row)), bool))[0]
            for row in ids
        ]
        assert np.abs(made[0] - made[1]).max() > 0.01
        alone = split_decoding.predict(
            decode,
            setup,
            Prompts(np.stack(made)),
            [split_decoding.Pair(n, table) for n in range(len(ids))],
        )
        assert got[k] == [texts[n] for n, texts in enumerate(alone)]
    as_plain = split_decoding.predict(decode, setup, Prompts(arrays), pairs)
    assert got[1] == as_plain[1]


@pytest.mark.slow
def test_500_rows_of_the_miniature_are_answered_as_each_alone():
    b = load.load_backbone("miniature")
    size, width = b.embedding(b.params).shape
    prompts = np.random.default_rng(1).normal(size=(1, 20, width)).astype(np.float32)
    table, lengths = _mixed(500, 300, size, 8), (300, 8)
    decode = split_decoding.make_decode(b)
    setup = split_decoding.Setup(b, placement.make(), 32)
    pairs = [split_decoding.Pair(0, table)]
    [got] = split_decoding.predict(decode, setup, Prompts(prompts), pairs)
    want = _alone(b, jnp.asarray(prompts[0]), table, lengths)
    assert len(set(want)) > 50
    assert got == want
