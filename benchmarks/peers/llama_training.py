"""Trains a prompt of SmolLM2-135M's shapes on token rows, logits at targets only.

    python benchmarks/peers/llama_training.py ROWS.npz [--prompt_length=100]

All rows have the same lengths. PEFT computes logits at every position by default; here
they are asked for where a target follows, which is what a careful user would do.
"""

import argparse

import common
import models
import torch
from torch.nn import functional


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows")
    parser.add_argument("--prompt_length", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    flags = parser.parse_args()
    model = models.smollm2_135m(flags.prompt_length)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.3)
    model.train()
    [batch] = common.batches(common.read_rows(flags.rows), flags.batch_size)
    targets = batch["labels"]
    # The last token predicts nothing, so it is left out.
    tokens = torch.cat([batch["input_ids"], targets[:, :-1]], dim=1)

    def step() -> None:
        logits = model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            logits_to_keep=targets.shape[1],
        ).logits
        functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        optimiser.step()
        optimiser.zero_grad()

    for _ in range(2):
        step()
    clock = common.Clock()
    for _ in range(flags.steps):
        step()
        clock.count(batch)
    clock.report(logits=targets.numel())


if __name__ == "__main__":
    main()
