"""Models of published shapes with random weights, for times that depend on shapes."""

import pathlib

import jax

from dtvg_jax.formats import vocabularies
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.models.llama import LlamaConfig, Rope
from dtvg_jax.models.t5_config import T5Config

T5_SMALL = T5Config(
    vocab_size=32128,
    d_model=512,
    d_kv=64,
    num_heads=8,
    d_ff=2048,
    num_layers=6,
    num_decoder_layers=6,
    activations=("relu",),
    tied_head=True,
    scale_outputs=True,
)
SMOLLM2_135M = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    head_dim=64,
    rms_norm_eps=1e-5,
    rope=Rope(theta=100000.0),
    tied_head=True,
)


def random_backbone(
    config: T5Config | LlamaConfig, vocabulary_folder: pathlib.Path | None = None
) -> Backbone:
    """Draws a backbone; a T5 gets the vocabulary of a folder, if one is given."""
    vocabulary = vocabulary_folder and vocabularies.load_vocabulary(
        vocabulary_folder, decoder_only=False, rows=config.vocab_size
    )
    params = backbones.init_params(config, jax.random.key(0))
    return backbones.build("random weights", config, params, vocabulary or None, "")
