"""T5 1.0 and 1.1, FLAN, LM-adapted, mT5, umT5, as transformers writes them."""

import dataclasses

from dtvg_jax.errors import InputError, shown
from dtvg_jax.files import JsonObject
from dtvg_jax.formats import configs, tensors
from dtvg_jax.formats.configs import Attributes, Reader
from dtvg_jax.formats.families.family import HEAD, QKVO, Family, Weights, one_embedding
from dtvg_jax.models.backbone import Config
from dtvg_jax.models.t5 import T5Config

# The embedding has several names; the first of those there are is used and the others
# must be equal to it.
EMBEDDINGS = (
    "shared.weight",
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
)
BIAS = "layer.0.SelfAttention.relative_attention_bias.weight"
# Left over from old code, used by no model.
LEFTOVER = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
FIXED = configs.FIXED | {"is_encoder_decoder": True, "scalable_attention": True}
# feed_forward_proj -> our activations, the name torch has for the first.
FEED_FORWARD = {
    "relu": (("relu",), "relu"),
    "gated-gelu": (("gelu", "linear"), "gelu_new"),
    "gated-silu": (("silu", "linear"), "silu"),
}


def config(attributes: Attributes, *, vocabulary: int, gated: bool) -> T5Config:
    """Reads a T5's attributes; the head is said to be tied until the weights are seen.

    `vocabulary` rows and whether the feed-forward is `gated` are facts of the weights:
    old files give other values (a resized vocabulary, "gelu" for "gated-gelu").
    """
    a = Reader(attributes, FIXED)
    a.take("vocab_size", int, vocabulary)
    layers = a.take("num_layers", int, 6)
    tied = a.take("tie_word_embeddings", bool, True)
    scaled = a.take("scale_decoder_outputs", bool, tied)
    made = T5Config(
        vocab_size=vocabulary,
        d_model=a.take("d_model", int, 512),
        d_kv=a.take("d_kv", int, 64),
        num_heads=a.take("num_heads", int, 8),
        d_ff=a.take("d_ff", int, 2048),
        num_layers=layers,
        num_decoder_layers=a.take("num_decoder_layers", int, layers),
        activations=_activations(a, gated),
        tied_head=True,
        scale_outputs=scaled and attributes.get("model_type") != "mt5",
        relative_attention_num_buckets=a.take(
            "relative_attention_num_buckets", int, 32
        ),
        relative_attention_max_distance=a.take(
            "relative_attention_max_distance", int, 128
        ),
        layer_norm_epsilon=a.take("layer_norm_epsilon", float, 1e-6),
        dropout_rate=a.take("dropout_rate", float, 0.1),
        decoder_start_id=a.take("decoder_start_token_id", int, 0),
    )
    a.finish(made)
    buckets = made.relative_attention_num_buckets
    if made.relative_attention_max_distance <= buckets // 2:
        raise InputError(
            f"relative_attention_max_distance is {made.relative_attention_max_distance}"
            f"; with {buckets} buckets it should be more than {buckets // 2}."
        )
    if made.decoder_start_id >= vocabulary:
        raise InputError(
            f"decoder_start_token_id is {made.decoder_start_id}, but the embedding has "
            f"{vocabulary} rows."
        )
    return made


def attributes(config: T5Config, dtype: str) -> JsonObject:
    """Gives the config.json of a T5 whose weights are of `dtype`."""
    proj = {ours: name for name, (ours, _) in FEED_FORWARD.items()}
    kind = "umt5" if config.bias_per_layer else "t5"
    return {
        "architectures": [f"{kind.upper()}ForConditionalGeneration"],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "d_kv": config.d_kv,
        "d_ff": config.d_ff,
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "feed_forward_proj": proj[config.activations],
        "relative_attention_num_buckets": config.relative_attention_num_buckets,
        "relative_attention_max_distance": config.relative_attention_max_distance,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "dropout_rate": config.dropout_rate,
        "is_encoder_decoder": True,
        # Version 4 of transformers reads the first of these two, version 5 the second.
        "tie_word_embeddings": config.tied_head,
        "scale_decoder_outputs": config.scale_outputs,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": config.decoder_start_id,
        "torch_dtype": dtype,
    }


def tensor_names(config: T5Config) -> dict[str, str]:
    """Maps each Hugging Face tensor name of a T5 to its path in our tree."""
    names = {EMBEDDINGS[0]: "token_embedder/embedding"}
    if not config.tied_head:
        names[HEAD] = "decoder/logits_dense/kernel"
    gated = len(config.activations) == 2
    mlp = ("wi_0", "wi_1", "wo") if gated else ("wi", "wo")
    encoder = {"SelfAttention": "attention"}
    decoder = {
        "SelfAttention": "self_attention",
        "EncDecAttention": "encoder_decoder_attention",
    }
    for stack, layers, attentions in (
        ("encoder", config.num_layers, encoder),
        ("decoder", config.num_decoder_layers, decoder),
    ):
        names[f"{stack}.final_layer_norm.weight"] = f"{stack}/{stack}_norm/scale"
        for i in range(layers if config.bias_per_layer else 1):
            ours = f"{stack}/layers_{i}" if config.bias_per_layer else stack
            names[f"{stack}.block.{i}.{BIAS}"] = f"{ours}/relpos_bias/rel_embedding"
        for i in range(layers):
            ours = f"{stack}/layers_{i}"
            for j, (theirs, name) in enumerate(attentions.items()):
                block = f"{stack}.block.{i}.layer.{j}"
                norm = name.replace("encoder_decoder", "cross")
                names[f"{block}.layer_norm.weight"] = (
                    f"{ours}/pre_{norm}_layer_norm/scale"
                )
                for letter, part in zip("qkvo", QKVO, strict=True):
                    path = f"{ours}/{name}/{part}/kernel"
                    names[f"{block}.{theirs}.{letter}.weight"] = path
            block = f"{stack}.block.{i}.layer.{len(attentions)}"
            names[f"{block}.layer_norm.weight"] = f"{ours}/pre_mlp_layer_norm/scale"
            for part in mlp:
                path = f"{ours}/mlp/{part}/kernel"
                names[f"{block}.DenseReluDense.{part}.weight"] = path
    return names


def read(attributes: Attributes, weights: Weights) -> tuple[Config, dict[str, str]]:
    """Reads a T5's config, as far as attributes and weights say it together."""
    weights.pop(LEFTOVER, None)
    embedding = one_embedding(weights, EMBEDDINGS)
    gated = any(name.endswith(".DenseReluDense.wi_1.weight") for name in weights)
    said = config(attributes, vocabulary=embedding.shape[0], gated=gated)
    if any(n.endswith(BIAS) and ".block.0." not in n for n in weights):
        said = dataclasses.replace(said, bias_per_layer=True)
    # The flag cannot be trusted: version 5 of transformers says "tied" of all T5s.
    if HEAD in weights and not tensors.same(weights[HEAD], embedding):
        said = dataclasses.replace(said, tied_head=False)
    else:
        weights.pop(HEAD, None)
    return said, tensor_names(said)


def said(attributes: Attributes) -> T5Config:
    """Reads the config that attributes alone describe, as of a published model."""
    gated = str(attributes.get("feed_forward_proj")).startswith("gated-")
    vocabulary = Reader(attributes, FIXED).take("vocab_size", int, 32128)
    made = config(attributes, vocabulary=vocabulary, gated=gated)
    return dataclasses.replace(
        made,
        tied_head=Reader(attributes, FIXED).take("tie_word_embeddings", bool, True),
        bias_per_layer=attributes.get("model_type") == "umt5",
    )


def _activations(a: Reader, gated: bool) -> tuple[str, ...]:
    said = a.take("feed_forward_proj", str, "relu")
    name = "gated-" + said.removeprefix("gated-") if gated else said
    if name not in FEED_FORWARD or gated != name.startswith("gated-"):
        raise InputError(
            f"feed_forward_proj is {shown(said)} and the weights "
            f"{'have' if gated else 'lack'} the gate wi_1; known are "
            f"{', '.join(FEED_FORWARD)}."
        )
    activations, torch_name = FEED_FORWARD[name]
    a.take("is_gated_act", bool, gated)  # False in old files; the weights decide.
    derived = a.take("dense_act_fn", str, torch_name)
    if derived not in (torch_name, said):
        raise InputError(
            f"dense_act_fn is {shown(derived)}; with feed_forward_proj {said!r} it "
            f"should be {torch_name!r}."
        )
    return activations


FAMILY = Family(("t5", "mt5", "umt5"), read, said)
