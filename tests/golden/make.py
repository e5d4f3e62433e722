"""Makes the golden values beside it with PyTorch and transformers, on a CPU.

    python tests/golden/make.py [NAME ...]

in an environment with torch and transformers (made with torch 2.13.0, transformers
5.24.0), which this package and its tests do not need.  Per case a folder with
config.json and model.safetensors as transformers writes them, and values.npz:
prompt [P, H], inputs [B, T] and targets [B, L] padded with -1, logits [B, L, V] with
the prompt in front (zeros at padded targets), plain_logits without a prompt, and
greedy [B, 8] with the prompt, which does not stop at an end token.  NAMEs are those of
the cases to make, all of them if none is given.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors import numpy as safetensors

HERE = pathlib.Path(__file__).parent
STEPS = 8
GROWTH = 2.5
T5_SMALL = {
    "vocab_size": 60,
    "d_model": 16,
    "d_kv": 4,
    "num_heads": 4,
    "d_ff": 24,
    "num_layers": 2,
    "decoder_start_token_id": 0,
}
LLAMA_SMALL = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "initializer_range": 0.3,
    "rms_norm_eps": 1e-5,
}
T5_CASES = {
    # Version 1.0: ReLU, tied head, scaled outputs; long enough for distant buckets.
    "t5_v1_0": ({"feed_forward_proj": "relu"}, False, 150),
    "t5_v1_1": ({"feed_forward_proj": "gated-gelu"}, True, 12),
    # Heads times head size is not the width, stacks of unequal depth, few buckets.
    "t5_v1_1_narrow": (
        {
            "feed_forward_proj": "gated-gelu",
            "d_kv": 3,
            "num_heads": 3,
            "num_layers": 1,
            "num_decoder_layers": 3,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 12,
        },
        True,
        14,
    ),
    "t5_gated_silu": ({"feed_forward_proj": "gated-silu"}, True, 9),
    # Each layer has its own relative positions.
    "umt5": ({"feed_forward_proj": "gated-gelu", "num_decoder_layers": 3}, True, 30),
}
LLAMA_CASES = {
    # As Llama 3.2: grouped queries, long context by rope scaling, tied head.
    "llama_3_tied": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "llama_untied": {
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
    "llama_biases_linear": {
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "attention_bias": True,
        "mlp_bias": True,
        "rope_parameters": {
            "rope_type": "linear",
            "rope_theta": 500.0,
            "factor": 4.0,
        },
    },
}

QWEN_SMALL = LLAMA_SMALL | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
}
QWEN_CASES = {
    # Biases of query, key and value; tied as Qwen2.5 0.5B to 3B are, untied as 7B is.
    "qwen2_tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2_untied": ("Qwen2", {"tie_word_embeddings": False}),
    # Heads with norms, and wider together than the model, as in Qwen3 0.6B.
    "qwen3_tied": ("Qwen3", {"tie_word_embeddings": True, "head_dim": 8}),
    "qwen3_untied": ("Qwen3", {"tie_word_embeddings": False, "head_dim": 4}),
}


def main() -> None:
    wanted = sys.argv[1:]
    for number, (name, (changes, untied, length)) in enumerate(T5_CASES.items()):
        family = "UMT5" if name == "umt5" else "T5"
        config = T5_SMALL | changes
        if not wanted or name in wanted:
            make(name, family, config, t5_logits, number, length, untied=untied)
    decoders = {name: ("Llama", LLAMA_SMALL | c) for name, c in LLAMA_CASES.items()}
    decoders |= {name: (f, QWEN_SMALL | c) for name, (f, c) in QWEN_CASES.items()}
    for number, (name, (family, config)) in enumerate(decoders.items(), start=10):
        if not wanted or name in wanted:
            make(name, family, config, decoder_logits, number, 14, untied=False)


def make(name, family, attributes, logits, seed: int, length: int, *, untied: bool):
    """Makes a model of random weights by seed, its folder and its values."""
    torch.manual_seed(seed)
    kind = "ConditionalGeneration" if family.endswith("T5") else "CausalLM"
    config = getattr(transformers, f"{family}Config")(**attributes)
    model = getattr(transformers, f"{family}For{kind}")(config)
    save(name, model, untied=untied)
    write_values(name, reload(name, model), logits, seed, length)


def save(name: str, model: transformers.PreTrainedModel, *, untied: bool) -> None:
    """Saves the model with uneven norms and biases, and a head where asked for.

    Larger matrices let the layers outweigh the embedding of the last token, which a
    tied head would otherwise repeat.

    transformers 5 builds every T5 with a tied head; a file with an lm_head that
    differs is how an untied one is told.
    """
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.empty_like(parameter).uniform_(-0.4, 0.4))
            elif "shared" not in path and "embed_tokens" not in path:
                parameter.mul_(GROWTH)
    if untied:
        model.config.scale_decoder_outputs = False
    folder = HERE / name
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    if untied:
        tensors = safetensors.load_file(folder / "model.safetensors")
        shape = tensors["shared.weight"].shape
        head = np.random.default_rng(0).normal(size=shape) * shape[1] ** -0.5
        tensors["lm_head.weight"] = head.astype(np.float32)
        safetensors.save_file(
            tensors, folder / "model.safetensors", metadata={"format": "pt"}
        )


def reload(
    name: str, model: transformers.PreTrainedModel
) -> transformers.PreTrainedModel:
    again = type(model).from_pretrained(
        HERE / name, attn_implementation="eager", dtype=torch.float32
    )
    config = json.loads((HERE / name / "config.json").read_text())
    if "scale_decoder_outputs" in config:
        assert again.config.scale_decoder_outputs == config["scale_decoder_outputs"]
        tied = again.lm_head.weight is again.shared.weight
        assert tied == config["scale_decoder_outputs"]
    return again.eval()


def write_values(name, model, logits, seed: int, length: int) -> None:
    """Writes the first random batch whose greedy choices are all clear."""
    width = model.get_input_embeddings().weight.shape[1]
    scale = model.get_input_embeddings().weight.std().item()
    for attempt in range(100):
        rng = np.random.default_rng([seed, attempt])
        prompt = rng.normal(size=(5, width)).astype(np.float32) * scale
        inputs = rng.integers(2, 60, (3, length)).astype(np.int32)
        targets = rng.integers(2, 60, (3, 5)).astype(np.int32)
        inputs[1, length - 3 :] = -1
        inputs[2, 1:] = -1
        targets[1, 2:] = -1
        decoded = [greedy(model, logits, prompt, real(i)) for i in inputs]
        if all(clear for _, clear in decoded):
            break
    else:
        raise SystemExit(f"{name}: no batch with clear choices")

    def batch(prompt):
        rows = zip(inputs, targets, strict=True)
        scores = [logits(model, prompt, real(i), real(t)) for i, t in rows]
        return np.stack([np.pad(x, ((0, 5 - len(x)), (0, 0))) for x in scores])

    values = {
        "prompt": prompt,
        "inputs": inputs,
        "targets": targets,
        "logits": batch(prompt),
        "plain_logits": batch(prompt[:0]),
        "greedy": np.array([made for made, _ in decoded], np.int32),
    }
    np.savez_compressed(HERE / name / "values.npz", **values)
    print(name, "largest logit", np.abs(values["logits"]).max(), values["greedy"])


def t5_logits(model, prompt, inputs, targets) -> np.ndarray:
    """Scores [L, V] of one row alone, without any padding."""
    x = torch.cat([torch.tensor(prompt), model.shared(torch.tensor(inputs))])[None]
    before = torch.tensor([[0, *targets[:-1]]])
    with torch.no_grad():
        return model(inputs_embeds=x, decoder_input_ids=before).logits[0].numpy()


def decoder_logits(model, prompt, inputs, targets) -> np.ndarray:
    tokens = torch.tensor([*inputs, *targets[:-1]])
    x = torch.cat([torch.tensor(prompt), model.get_input_embeddings()(tokens)])[None]
    with torch.no_grad():
        return model(inputs_embeds=x).logits[0, -len(targets) :].numpy()


def greedy(model, logits, prompt, inputs) -> tuple[list[int], bool]:
    """Decodes with a full forward pass per token; says if the best was clearly so."""
    made, clear = [], True
    for _ in range(STEPS):
        scores = logits(model, prompt, inputs, [*made, 0])[-1]
        first, second = np.sort(scores)[::-1][:2]
        clear &= bool(first - second > 1e-3 * np.abs(scores).max())
        made.append(int(scores.argmax()))
    return made, clear


def real(row: np.ndarray) -> list[int]:
    return [int(i) for i in row if i >= 0]


if __name__ == "__main__":
    main()
