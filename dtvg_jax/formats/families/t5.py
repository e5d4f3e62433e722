"""T5 1.0 and 1.1, FLAN, LM-adapted, mT5, umT5, as transformers writes them."""

import dataclasses

from dtvg_jax.errors import InputError, shown
from dtvg_jax.files import JsonObject
from dtvg_jax.formats import configs, tensors
from dtvg_jax.formats.configs import Attributes, Reader
from dtvg_jax.formats.families.family import HEAD, QKVO, Family, Weights, one_embedding
from dtvg_jax.formats.tensors import Slot
from dtvg_jax.models.backbone import Config
from dtvg_jax.models.t5_config import T5Config

# Names of the embedding; the first that is present is used, the others must equal it.
EMBEDDINGS = (
    "shared.weight",
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
)
BIAS = "layer.0.SelfAttention.relative_attention_bias.weight"
# Left over from old code, used by no model.
LEFTOVER = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
# The attentions of a layer, in order, by their names and ours.
ENCODER = {"SelfAttention": "attention"}
DECODER = {
    "SelfAttention": "self_attention",
    "EncDecAttention": "encoder_decoder_attention",
}
FIXED = configs.FIXED | {"is_encoder_decoder": True, "scalable_attention": True}
# feed_forward_proj -> our activations, and PyTorch's name of the first.
FEED_FORWARD = {
    "relu": (("relu",), "relu"),
    "gated-gelu": (("gelu", "linear"), "gelu_new"),
    "gated-silu": (("silu", "linear"), "silu"),
}


def config(attributes: Attributes, *, vocabulary: int, gated: bool) -> T5Config:
    """Reads a T5's attributes; the head counts as tied until the weights are seen.

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
            f"; with {buckets} buckets it should be more than {buckets // 2}"
        )
    if made.decoder_start_id >= vocabulary:
        raise InputError(
            f"decoder_start_token_id is {made.decoder_start_id}, but the embedding has "
            f"{vocabulary} rows"
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


def tensor_names(config: T5Config) -> dict[str, Slot]:
    """Maps each Hugging Face tensor name of a T5 to its place in our tree."""
    names = {EMBEDDINGS[0]: Slot("token_embedder/embedding")}
    if not config.tied_head:
        names[HEAD] = Slot("decoder/logits_dense/kernel")
    for stack, layers, attentions in (
        ("encoder", config.num_layers, ENCODER),
        ("decoder", config.num_decoder_layers, DECODER),
    ):
        names[f"{stack}.final_layer_norm.weight"] = Slot(f"{stack}/{stack}_norm/scale")
        if not config.bias_per_layer:
            shared = Slot(f"{stack}/relpos_bias/rel_embedding")
            names[f"{stack}.block.0.{BIAS}"] = shared
        for theirs, ours in _layer_names(config, attentions).items():
            for i in range(layers):
                names[f"{stack}.block.{i}.{theirs}"] = Slot(f"{stack}/layers/{ours}", i)
    return names


def _layer_names(config: T5Config, attentions: dict[str, str]) -> dict[str, str]:
    names = {BIAS: "relpos_bias/rel_embedding"} if config.bias_per_layer else {}
    for j, (theirs, ours) in enumerate(attentions.items()):
        norm = ours.replace("encoder_decoder", "cross")
        names[f"layer.{j}.layer_norm.weight"] = f"pre_{norm}_layer_norm/scale"
        for letter, part in zip("qkvo", QKVO, strict=True):
            names[f"layer.{j}.{theirs}.{letter}.weight"] = f"{ours}/{part}/kernel"
    j, gated = len(attentions), len(config.activations) == 2
    names[f"layer.{j}.layer_norm.weight"] = "pre_mlp_layer_norm/scale"
    for part in ("wi_0", "wi_1", "wo") if gated else ("wi", "wo"):
        names[f"layer.{j}.DenseReluDense.{part}.weight"] = f"mlp/{part}/kernel"
    return names


def read(attributes: Attributes, weights: Weights) -> tuple[Config, dict[str, Slot]]:
    """Reads a T5's config, as far as attributes and weights say it together."""
    weights.pop(LEFTOVER, None)
    embedding = one_embedding(weights, EMBEDDINGS)
    gated = any(name.endswith(".DenseReluDense.wi_1.weight") for name in weights)
    found = config(attributes, vocabulary=embedding.shape[0], gated=gated)
    if any(n.endswith(BIAS) and ".block.0." not in n for n in weights):
        found = dataclasses.replace(found, bias_per_layer=True)
    # The flag cannot be trusted: version 5 of transformers says "tied" of all T5s.
    if HEAD in weights and not tensors.same(weights[HEAD], embedding):
        found = dataclasses.replace(found, tied_head=False)
    else:
        weights.pop(HEAD, None)
    return found, tensor_names(found)


def published(attributes: Attributes) -> T5Config:
    """Reads the config of a published model from its attributes alone."""
    gated = str(attributes.get("feed_forward_proj")).startswith("gated-")
    vocabulary = Reader(attributes, FIXED).take("vocab_size", int, 32128)
    made = config(attributes, vocabulary=vocabulary, gated=gated)
    return dataclasses.replace(
        made,
        tied_head=Reader(attributes, FIXED).take("tie_word_embeddings", bool, True),
        bias_per_layer=attributes.get("model_type") == "umt5",
    )


def _activations(a: Reader, gated: bool) -> tuple[str, ...]:
    kind = a.take("feed_forward_proj", str, "relu")
    name = "gated-" + kind.removeprefix("gated-") if gated else kind
    if name not in FEED_FORWARD or gated != name.startswith("gated-"):
        raise InputError(
            f"feed_forward_proj is {shown(kind)} and the weights "
            f"{'have' if gated else 'lack'} the gate wi_1; known are "
            f"{', '.join(FEED_FORWARD)}"
        )
    activations, torch_name = FEED_FORWARD[name]
    a.take("is_gated_act", bool, gated)  # False in old files; the weights decide.
    derived = a.take("dense_act_fn", str, torch_name)
    if derived not in (torch_name, kind):
        raise InputError(
            f"dense_act_fn is {shown(derived)}; with feed_forward_proj {kind!r} it "
            f"should be {torch_name!r}"
        )
    return activations


FAMILY = Family(("t5", "mt5", "umt5"), read, published)
