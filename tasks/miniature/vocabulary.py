"""The SentencePiece model of the miniature: every word of the world is one piece."""

from . import words


def vocabulary_model() -> bytes:
    """Build the model file: pad 0, eos 1, unk 2, then words; no training, no chance."""
    # protobuf's generated module has no types
    from sentencepiece import sentencepiece_model_pb2 as pb

    model = pb.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]
    kinds = model.SentencePiece
    for piece, kind in (
        ("<pad>", kinds.CONTROL),
        ("</s>", kinds.CONTROL),
        ("<unk>", kinds.UNKNOWN),
        (",", kinds.NORMAL),
    ):
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for word in words.all_words():
        model.pieces.add(piece=f"\u2581{word}", score=-1.0, type=kinds.NORMAL)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type = trainer.UNIGRAM
    trainer.vocab_size = len(model.pieces)
    trainer.pad_id, trainer.eos_id, trainer.unk_id, trainer.bos_id = 0, 1, 2, -1
    trainer.pad_piece, trainer.eos_piece, trainer.unk_piece = "<pad>", "</s>", "<unk>"
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = True
    normalizer.remove_extra_whitespaces = True
    normalizer.escape_whitespaces = True
    return model.SerializeToString()
