"""Text to ids and back: SentencePiece with sentinels, tokenizer.json with prefix."""

import hashlib
import io
import json
import pathlib
import shutil

import pytest
import sentencepiece
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from dtvg_jax.errors import InputError
from dtvg_jax.formats import load
from dtvg_jax.formats.vocabularies import load_vocabulary, tokenizer_config

WORDS = ["<pad>", "</s>", "<unk>", "<s>", "good", "bad", "film", ":", "Label"]


def _write_pieces(folder: pathlib.Path) -> bytes:
    model = io.BytesIO()
    text = iter(["a good film was bad", "one of the good ones, not bad"] * 20)
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=text,
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    return model.getvalue()


def _write_json(folder: pathlib.Path, template: str, *added: str) -> None:
    ids = {word: i for i, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<s>"])
    tokenizer.add_tokens(list(added))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 3), ("</s>", 1)]
    )
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding()
    tokenizer.save(str(folder / "tokenizer.json"))


def test_spiece_model_with_and_without_room_for_sentinels(
    tmp_path: pathlib.Path,
) -> None:
    data = _write_pieces(tmp_path)
    plain = sentencepiece.SentencePieceProcessor(model_proto=data)
    pieces = plain.get_piece_size()
    small = load_vocabulary(tmp_path, decoder_only=False, rows=pieces)
    large = load_vocabulary(tmp_path, decoder_only=False, rows=pieces + 128)
    assert (small.size, large.size) == (pieces, pieces + 100)
    assert small.digest == large.digest == hashlib.sha256(data).hexdigest()
    assert (large.eos_id, large.prefix_ids, large.input_suffix) == (1, (), "")
    texts = ["a good film", "bad"]
    assert small.encode(texts) == large.encode(texts) == plain.encode(texts)
    # 0 is the highest id; a sentinel keeps the words beside it as they are.
    rows = large.encode(["good <extra_id_0> film <extra_id_99>"])[0]
    assert pieces + 99 in rows and rows[-1] == pieces
    assert large.decode([rows]) == ["good <extra_id_0> film <extra_id_99>"]


def test_decoding_stops_at_the_end_token_and_drops_padding(
    tmp_path: pathlib.Path,
) -> None:
    _write_pieces(tmp_path)
    v = load_vocabulary(tmp_path, decoder_only=False, rows=500)
    good, bad = v.encode(["good"])[0], v.encode(["bad"])[0]
    rows = [[-1, *good, 1, *bad], [-1, -1], [1, *good], [*bad, -1, -1]]
    assert v.decode(rows) == ["good", "", "", "bad"]
    assert "⁇" in v.decode([[499]])[0]  # A row of the embedding beyond the pieces.


@pytest.mark.parametrize(
    ("template", "prefix"),
    [("<s> $A", (3,)), ("$A </s>", ()), ("<s> $A </s>", (3,)), ("$A", ())],
)
def test_tokenizer_json(
    template: str, prefix: tuple[int, ...], tmp_path: pathlib.Path
) -> None:
    _write_json(tmp_path, template)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [1, 8]}))
    v = load_vocabulary(tmp_path, decoder_only=True, rows=9)
    assert (v.size, v.eos_id, v.prefix_ids) == (9, 1, prefix)
    assert v.input_suffix == " Label : "
    # The truncation and padding of the file are off.
    assert v.encode(["good film bad", "bad"]) == [[4, 6, 5], [5]]
    assert v.encode(["film" + v.input_suffix]) == [[6, 8, 7]]
    assert v.decode([[3, 4, 6, 1, 5]]) == ["good film"]


def test_the_end_token_named_by_the_tokenizer_comes_first(
    tmp_path: pathlib.Path,
) -> None:
    _write_json(tmp_path, "$A")
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 1}))
    for named in ("bad", {"content": "bad"}):
        named_file = json.dumps({"eos_token": named})
        (tmp_path / "tokenizer_config.json").write_text(named_file)
        assert load_vocabulary(tmp_path, decoder_only=True, rows=9).eos_id == 5


def test_a_t5_with_tokenizer_json_only(tmp_path: pathlib.Path) -> None:
    _write_json(tmp_path, "$A </s>")
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 1}))
    v = load_vocabulary(tmp_path, decoder_only=False, rows=16)
    assert (v.eos_id, v.prefix_ids, v.input_suffix) == (1, (), "")


def test_tokens_that_tokenizer_json_adds_to_the_pieces(tmp_path: pathlib.Path) -> None:
    _write_pieces(tmp_path)
    standard = [{"id": i, "content": f"<extra_id_{i}>"} for i in range(100)]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": standard}))
    pieces = load_vocabulary(tmp_path, decoder_only=False, rows=200)
    _write_json(tmp_path, "$A </s>", "<")  # After nine words, hence id 9.
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    added = load_vocabulary(tmp_path, decoder_only=False, rows=200)
    assert (added.size, added.eos_id) == (10, 1) and added.digest != pieces.digest
    assert added.encode(["good < bad", "good<bad"]) == [[4, 9, 5], [4, 9, 5]]


@pytest.mark.parametrize("decoder_only", [True, False])
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": {"9": {"content": "<"}}}),
        ("tokenizer_config.json", {"additional_special_tokens": ["<extra_id_0>", "<"]}),
        ("tokenizer_config.json", {"eos_token": "</s>", "pad_token": "<"}),
        ("added_tokens.json", {"<": 9}),
        ("special_tokens_map.json", {"eos_token": {"content": "<"}}),
    ],
)
def test_tokens_that_only_another_file_adds_are_named(
    file: str, content: dict, decoder_only: bool, tmp_path: pathlib.Path
) -> None:
    if decoder_only:
        _write_json(tmp_path, "$A", "<extra_id_0>")
    else:
        _write_pieces(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 1}))
    load_vocabulary(tmp_path, decoder_only=decoder_only, rows=200)
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{file} adds the token '<', which the voc"):
        load_vocabulary(tmp_path, decoder_only=decoder_only, rows=200)


def test_the_name_that_t5x_gives_a_model(tmp_path: pathlib.Path) -> None:
    data = _write_pieces(tmp_path)
    (tmp_path / "spiece.model").rename(tmp_path / "sentencepiece.model")
    v = load_vocabulary(tmp_path, decoder_only=False, rows=200)
    assert v.digest == hashlib.sha256(data).hexdigest()


def test_what_is_wrong_is_said(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="has no vocabulary"):
        load_vocabulary(tmp_path, decoder_only=True, rows=9)
    _write_json(tmp_path, "$A")
    with pytest.raises(InputError, match="no end token is named"):
        load_vocabulary(tmp_path, decoder_only=True, rows=9)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 1}))
    with pytest.raises(InputError, match="9 ids, but the embedding .* 8 rows"):
        load_vocabulary(tmp_path, decoder_only=True, rows=8)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="is not a tokenizer.json"):
        load_vocabulary(tmp_path, decoder_only=True, rows=9)
    _write_json(tmp_path, "$A")
    made = (tmp_path / "tokenizer.json").read_text()
    assert made.count('"unk_token": "<unk>"') == 1
    (tmp_path / "tokenizer.json").write_text(
        made.replace('"unk_token": "<unk>"', '"unk_token": "<unl>"')
    )
    with pytest.raises(InputError, match="is not a tokenizer.json: .*Missing"):
        load_vocabulary(tmp_path, decoder_only=True, rows=9)
    (tmp_path / "spiece.model").write_bytes(b"no model")
    with pytest.raises(InputError, match="is not a SentencePiece model"):
        load_vocabulary(tmp_path, decoder_only=False, rows=9)


@pytest.mark.parametrize(("room", "extra"), [(0, 0), (99, 0), (100, 100)])
def test_transformers_is_told_how_many_sentinels_there_are(
    room: int, extra: int, tmp_path: pathlib.Path
) -> None:
    data = _write_pieces(tmp_path)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=data).get_piece_size()
    v = load_vocabulary(tmp_path, decoder_only=False, rows=pieces + room)
    said = tokenizer_config(v, tmp_path / "spiece.model")
    # T5Tokenizer has the pieces and as many ids more.
    assert said["extra_ids"] == extra
    assert pieces + extra == v.size <= pieces + room


def test_the_embedded_folder_says_what_a_copy_of_it_says(
    tmp_path: pathlib.Path,
) -> None:
    source = load.open_source("miniature")
    bare, copy = tmp_path / "bare", tmp_path / "copy"
    shutil.copytree(source.folder, bare)
    (bare / "tokenizer_config.json").unlink()
    copy.mkdir()
    load.open_source(str(bare)).copy_vocabulary(copy)
    assert sorted(p.name for p in copy.iterdir()) == [
        "spiece.model",
        "tokenizer_config.json",
    ]
    said = json.loads((copy / "tokenizer_config.json").read_text())
    assert said == json.loads((source.folder / "tokenizer_config.json").read_text())
    assert said["extra_ids"] == 0
