"""The shape and rules of a T5."""

import dataclasses

from dtvg_jax.models import ranges


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Shape and rules of a T5; the names are those of Hugging Face's config.

    `activations` of the feed-forward layer: ("relu",) or ("gelu", "linear").
    `scale_outputs`: the last hidden state is multiplied by d_model ** -0.5.
    `bias_per_layer`: each layer has its own relative positions (umT5, T5X's scanned
    layers) instead of sharing those of its stack.
    """

    vocab_size: ranges.Vocabulary
    d_model: ranges.Size
    d_kv: ranges.Size
    num_heads: ranges.Size
    d_ff: ranges.Size
    num_layers: ranges.Layers
    num_decoder_layers: ranges.Layers
    activations: tuple[str, ...] = ("gelu", "linear")
    tied_head: bool = False
    scale_outputs: bool = False
    bias_per_layer: bool = False
    relative_attention_num_buckets: ranges.Buckets = 32
    relative_attention_max_distance: ranges.Size = 128
    layer_norm_epsilon: ranges.Epsilon = 1e-6
    dropout_rate: ranges.Dropout = 0.1
    decoder_start_id: ranges.TokenId = 0

    # Names that all backbones have, as in Hugging Face's T5Config.attribute_map.
    @property
    def hidden_size(self) -> int:
        return self.d_model

    @property
    def num_attention_heads(self) -> int:
        return self.num_heads

    @property
    def num_hidden_layers(self) -> int:
        return self.num_layers
