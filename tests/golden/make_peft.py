"""Makes the PEFT adapters beside it, with PyTorch, transformers and PEFT, on a CPU.

    cd tests/golden && python make_peft.py [EXPORTED]

in an environment with torch, transformers and peft (made with 2.13.0, 5.24.0, 0.21.2).
The prompts are those of values.npz.  Each adapter is loaded again and must give the
logits of values.npz, which were made without PEFT.  With a folder EXPORTED, which holds
adapters of the same names that this package exported, those are held against
values.npz instead, and nothing is written.
"""

import pathlib
import sys

import numpy as np
import peft
import torch
import transformers

# Adapter -> backbone, task of PEFT, num_transformer_submodules (None: PEFT's default).
ADAPTERS = {
    "peft/t5": ("t5_v1_1", "SEQ_2_SEQ_LM", 1),
    "peft/t5_doubled": ("t5_v1_1", "SEQ_2_SEQ_LM", None),
    "peft/llama": ("llama_3_tied", "CAUSAL_LM", None),
}
CLASSES = {
    "SEQ_2_SEQ_LM": transformers.AutoModelForSeq2SeqLM,
    "CAUSAL_LM": transformers.AutoModelForCausalLM,
}


def main() -> None:
    exported = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
    for name, (backbone, task, submodules) in ADAPTERS.items():
        values = dict(np.load(f"{backbone}/values.npz"))
        folder = exported / pathlib.Path(name).name if exported else pathlib.Path(name)
        if exported is None:
            make(folder, backbone, task, submodules, values["prompt"])
        if folder.is_dir():
            model = peft.PeftModel.from_pretrained(base(backbone, task), folder).eval()
            print(folder, "largest difference", check(model, task, values))


def base(backbone: str, task: str) -> transformers.PreTrainedModel:
    return CLASSES[task].from_pretrained(
        backbone, attn_implementation="eager", dtype=torch.float32
    )


def make(folder, backbone: str, task: str, submodules, prompt: np.ndarray) -> None:
    config = peft.PromptTuningConfig(
        task_type=task,
        num_virtual_tokens=len(prompt),
        num_transformer_submodules=submodules,
    )
    model = peft.get_peft_model(base(backbone, task), config)
    weight = model.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        weight[: len(prompt)] = torch.tensor(prompt)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()


def check(model: peft.PeftModel, task: str, values: dict[str, np.ndarray]) -> float:
    worst = 0.0
    rows = (values["inputs"], values["targets"], values["logits"])
    for inputs, targets, want in zip(*rows, strict=True):
        inputs, targets = inputs[inputs >= 0].tolist(), targets[targets >= 0].tolist()
        if task == "CAUSAL_LM":
            ids = torch.tensor([inputs + targets[:-1]])
            mask = torch.ones_like(ids)
            got = model(input_ids=ids, attention_mask=mask).logits[0, -len(targets) :]
        else:
            ids = torch.tensor([inputs])
            mask = torch.ones_like(ids)
            before = torch.tensor([[0, *targets[:-1]]])
            got = model(
                input_ids=ids, attention_mask=mask, decoder_input_ids=before
            ).logits[0]
        difference = np.abs(got.detach().numpy() - want[: len(targets)]).max()
        worst = max(worst, float(difference))
    assert worst < 1e-4 * np.abs(values["logits"]).max(), worst
    return worst


if __name__ == "__main__":
    main()
