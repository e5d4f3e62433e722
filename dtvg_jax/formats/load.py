"""Loads a backbone from a Hugging Face folder, or the one inside the package."""

import pathlib

import dtvg_jax
from dtvg_jax.backbones import backbone
from dtvg_jax.errors import InputError
from dtvg_jax.formats import hugging_face, vocabularies

EMBEDDED = pathlib.Path(dtvg_jax.__file__).parent / "embedded"
DTYPES = ("float32", "bfloat16")


def load_backbone(where: str, dtype: str = "float32") -> backbone.Backbone:
    """Loads the T5 or Llama of a folder, or "miniature", the small embedded T5.

    `dtype` ("float32" or "bfloat16") is that of parameters and activations; prompts,
    softmax, norms and logits are float32 in any case.  Raises InputError with what is
    wrong in the folder and what would be right.
    """
    if dtype not in DTYPES:
        raise InputError(
            f"the backbone's dtype is {dtype!r}; it should be {' or '.join(DTYPES)}."
        )
    folder = pathlib.Path(where).expanduser()
    embedded = sorted(p.name for p in EMBEDDED.glob("*") if p.is_dir())
    if where in embedded:
        folder = EMBEDDED / where
    if not folder.is_dir():
        raise InputError(
            f"the backbone {where!r} is not there: it should be a Hugging Face folder "
            f"(config.json, model.safetensors, vocabulary) or one of the embedded: "
            f"{', '.join(embedded)}."
        )
    config, params, digest = hugging_face.read(folder, dtype)
    rows = params["token_embedder"]["embedding"].shape[0]
    vocabulary = vocabularies.load_vocabulary(
        folder, decoder_only=backbone.kind(config) == "llama", rows=rows
    )
    return backbone.build(folder.resolve().name, config, params, vocabulary, digest)
