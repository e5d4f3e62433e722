"""Models of published shapes with random weights, for times that depend on shapes."""

import pathlib

import jax

from dtvg_jax.formats import vocabularies
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.models.llama import LlamaConfig, Rope
from dtvg_jax.models.t5_config import T5Config


def t5(width: int, heads: int, hidden: int, layers: int) -> T5Config:
    """Makes the config of a T5 1.0 of a size."""
    return T5Config(
        vocab_size=32128,
        d_model=width,
        d_kv=width // heads,
        num_heads=heads,
        d_ff=hidden,
        num_layers=layers,
        num_decoder_layers=layers,
        activations=("relu",),
        tied_head=True,
        scale_outputs=True,
    )


T5_SMALL = t5(512, 8, 2048, 6)
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
    config: T5Config | LlamaConfig,
    vocabulary_folder: pathlib.Path | None = None,
    dtype: str = "float32",
) -> Backbone:
    """Draws a backbone; a T5 gets the vocabulary of a folder, if one is given."""
    vocabulary = vocabulary_folder and vocabularies.load_vocabulary(
        vocabulary_folder, decoder_only=False, rows=config.vocab_size
    )
    params = backbones.init_params(config, jax.random.key(0))
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    return backbones.build("random weights", config, params, vocabulary or None, "")
