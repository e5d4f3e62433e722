"""Text to token ids and back: SentencePiece models and tokenizer.json files."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2 as messages

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.formats import added_tokens
from dtvg_jax.formats.added_tokens import (
    ADDED_TOKENS,
    OF_T5,
    SPECIAL_TOKENS,
    TOKENIZER,
    TOKENIZER_CONFIG,
)

# What the reference puts between a text and its label on decoder-only backbones.
LABEL_SUFFIX = " Label : "
# Names of a SentencePiece model: Hugging Face's and T5X's.
PIECES = ("spiece.model", "sentencepiece.model")
FILES = (*PIECES, TOKENIZER, TOKENIZER_CONFIG, ADDED_TOKENS, SPECIAL_TOKENS)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The vocabulary of a backbone.

    `size` counts its ids; `digest` is the sha256 of its file. `prefix_ids` come before
    every text (the beginning token of a tokenizer.json), `input_suffix` after an input
    text. Encoding adds neither, nor the end token `eos_id`.
    """

    size: int
    eos_id: int
    digest: str
    prefix_ids: tuple[int, ...]
    input_suffix: str
    to_ids: Callable[[list[str]], list[list[int]]] = dataclasses.field(repr=False)
    to_text: Callable[[list[list[int]]], list[str]] = dataclasses.field(repr=False)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Gives the ids of each text, without end token."""
        return self.to_ids(list(texts))

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Gives the text of each row up to its end token; -1 is left out."""
        truncated = []
        for row in rows:
            ids = [int(i) for i in row]
            if self.eos_id in ids:
                ids = ids[: ids.index(self.eos_id)]
            truncated.append([i for i in ids if i >= 0])
        return self.to_text(truncated)


def load_vocabulary(
    folder: pathlib.Path, *, decoder_only: bool, rows: int
) -> Vocabulary:
    """Loads spiece.model or sentencepiece.model (of a T5), else tokenizer.json.

    A T5 whose tokenizer.json adds tokens to its pieces is read from that.
    `rows` is the size of the backbone's embedding, which must cover the vocabulary; a
    T5 gets the 100 sentinels of its pretraining where its embedding has rows for them.
    """
    suffix = LABEL_SUFFIX if decoder_only else ""
    pieces = [folder / name for name in PIECES if (folder / name).is_file()]
    fast = folder / TOKENIZER
    if pieces and not decoder_only and not _adds_tokens(fast, pieces[0]):
        vocabulary = _sentencepiece(pieces[0], rows, suffix)
    elif fast.exists():
        vocabulary = _tokenizer_json(fast, suffix)
    else:
        raise InputError(
            f"{folder} has no vocabulary: neither {' nor '.join(PIECES)} (for a T5) "
            "nor tokenizer.json is there"
        )
    if vocabulary.size > rows:
        raise InputError(
            f"{folder}: the vocabulary has {vocabulary.size} ids, but the embedding of "
            f"the backbone has {rows} rows; one of the files is of another model"
        )
    return vocabulary


def tokenizer_config(vocabulary: Vocabulary, pieces: pathlib.Path) -> JsonObject:
    """Gives the tokenizer_config.json that makes transformers use the same ids.

    Its T5 tokenizer adds 100 sentinels by default: ids that the embedding may have no
    rows for, or that the pieces have already.
    """
    own = sentencepiece.SentencePieceProcessor(model_file=str(pieces)).GetPieceSize()
    return {
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": vocabulary.size - own,
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }


def with_sentinels(model: bytes, count: int) -> bytes:
    """Adds `<extra_id_0>` ... as the last ids of a SentencePiece model, 0 the highest.

    SeqIO and Hugging Face do the same. The sentinels match at the start of a word.
    """
    # Any: the module is made by protobuf when it is imported.
    proto = cast(Any, messages).ModelProto.FromString(model)
    for i in reversed(range(count)):
        proto.pieces.add(piece=f"▁<extra_id_{i}>", score=0.0, type=4)  # user defined
    return proto.SerializeToString()


def _processor(path: pathlib.Path) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(files.read_bytes(path))
    except RuntimeError as error:
        raise InputError(f"{path} is not a SentencePiece model: {error}") from error
    return processor


def _knows(processor: sentencepiece.SentencePieceProcessor, token: str) -> bool:
    """Tells whether a token is one of T5's own, or a control piece of the model."""
    piece = processor.PieceToId(token)
    return OF_T5.fullmatch(token) is not None or processor.IsControl(piece)


def _adds_tokens(fast: pathlib.Path, pieces: pathlib.Path) -> bool:
    processor = _processor(pieces)
    return not all(_knows(processor, token) for token, _ in added_tokens.listed(fast))


def _sentencepiece(path: pathlib.Path, rows: int, suffix: str) -> Vocabulary:
    data = files.read_bytes(path)
    processor = _processor(path)
    added_tokens.check(path.parent, functools.partial(_knows, processor))
    if processor.eos_id() < 0:
        raise InputError(f"{path} has no end token </s>; a T5's vocabulary has one")
    has_sentinels = processor.PieceToId("<extra_id_0>") != processor.unk_id()
    if not has_sentinels and processor.GetPieceSize() + 100 <= rows:
        processor.LoadFromSerializedProto(with_sentinels(data, 100))
    size, unknown = processor.GetPieceSize(), processor.unk_id()

    def to_text(ids: list[list[int]]) -> list[str]:
        # The embedding has rows beyond the vocabulary, which an argmax can pick.
        return processor.Decode([[i if i < size else unknown for i in r] for r in ids])

    return Vocabulary(
        size=size,
        eos_id=processor.eos_id(),
        digest=hashlib.sha256(data).hexdigest(),
        prefix_ids=(),
        input_suffix=suffix,
        to_ids=lambda texts: processor.Encode(texts, out_type=int),
        to_text=to_text,
    )


def _tokenizer_json(path: pathlib.Path, suffix: str) -> Vocabulary:
    data = files.read_bytes(path)
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(data)
        # A model without the token that it names for unknown text fails only here.
        tokenizer.encode("\ue000")
    except Exception as error:  # The package raises this class itself.
        raise InputError(f"{path} is not a tokenizer.json: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    added_tokens.check(
        path.parent, lambda token: tokenizer.token_to_id(token) is not None
    )
    end = _end_token(path.parent, tokenizer)
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    return Vocabulary(
        size=highest + 1,
        eos_id=end,
        # The end token may be named by another file.
        digest=hashlib.sha256(data + str(end).encode()).hexdigest(),
        prefix_ids=_prefix(tokenizer),
        input_suffix=suffix,
        to_ids=lambda texts: [
            e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)
        ],
        to_text=lambda ids: tokenizer.decode_batch(ids, skip_special_tokens=True),
    )


def _prefix(tokenizer: tokenizers.Tokenizer) -> tuple[int, ...]:
    """Gives the ids that the file's post-processor puts before a text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return tuple(full[:start])
    return ()


def _end_token(folder: pathlib.Path, tokenizer: tokenizers.Tokenizer) -> int:
    """Finds the end token: tokenizer_config.json names it, or config.json by id."""
    named = _json_if_there(folder / TOKENIZER_CONFIG).get("eos_token")
    token = named.get("content") if isinstance(named, dict) else named
    if isinstance(token, str) and (found := tokenizer.token_to_id(token)) is not None:
        return found
    ids = _json_if_there(folder / "config.json").get("eos_token_id")
    first = ids[0] if isinstance(ids, list) and ids else ids
    if type(first) is int and first >= 0:
        return first
    raise InputError(
        f"{folder}: no end token is named; tokenizer_config.json should have eos_token "
        "or config.json eos_token_id"
    )


def _json_if_there(path: pathlib.Path) -> JsonObject:
    return files.read_json(path) if path.exists() else {}
