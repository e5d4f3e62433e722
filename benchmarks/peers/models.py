"""The models of benchmarks/models.py in transformers, with a soft prompt by PEFT."""

import peft
import torch
import transformers


def t5_small(prompt_length: int) -> peft.PeftModel:
    """Draws a T5 of T5-small's shapes with a prompt to train."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=32128,
        d_model=512,
        d_kv=64,
        num_heads=8,
        d_ff=2048,
        num_layers=6,
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
