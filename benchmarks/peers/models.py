"""The models of benchmarks/models.py in transformers, with a soft prompt by PEFT."""

import peft
import torch
import transformers

T5 = {  # width, heads, width of the feed-forward layer, layers
    "t5-small": (512, 8, 2048, 6),
    "t5-base": (768, 12, 3072, 12),
    "t5-large": (1024, 16, 4096, 24),
}


def t5(name: str, prompt_length: int) -> peft.PeftModel:
    """Draws a T5 of a size's shapes with a prompt to train."""
    torch.manual_seed(0)
    width, heads, hidden, layers = T5[name]
    config = transformers.T5Config(
        vocab_size=32128,
        d_model=width,
        d_kv=width // heads,
        num_heads=heads,
        d_ff=hidden,
        num_layers=layers,
        feed_forward_proj="relu",
        decoder_start_token_id=0,
    )
    model = transformers.T5ForConditionalGeneration(config)
    return _with_prompt(model, peft.TaskType.SEQ_2_SEQ_LM, prompt_length)


def smollm2_135m(prompt_length: int) -> peft.PeftModel:
    """Draws a Llama of SmolLM2-135M's shapes with a prompt to train."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    model = transformers.LlamaForCausalLM(config)
    return _with_prompt(model, peft.TaskType.CAUSAL_LM, prompt_length)


def _with_prompt(
    model: transformers.PreTrainedModel, task: peft.TaskType, prompt_length: int
) -> peft.PeftModel:
    prompt = peft.PromptTuningConfig(task_type=task, num_virtual_tokens=prompt_length)
    return peft.get_peft_model(model, prompt)
