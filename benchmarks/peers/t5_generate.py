"""Decodes token rows greedily with a prompt, by transformers' generate.

    python benchmarks/peers/t5_generate.py ROWS.npz [--prompt_length=100] [--tokens=20]

T5-small's shapes with random weights, which seldom end a row before --tokens. Batches
come in the order of the file and are padded to their longest row. Prints JSON with the
number of tokens that were generated.
"""

import argparse
import itertools

import common
import models
import torch


def main() -> None:
    """Decodes and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows")
    parser.add_argument("--prompt_length", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=20, help="the most of a row")
    parser.add_argument("--batch_size", type=int, default=32)
    flags = parser.parse_args()
    model = models.t5("t5-small", flags.prompt_length).eval()
    loader = common.batches(common.read_rows(flags.rows), flags.batch_size)
    generated = 0

    def decode(batch: dict[str, torch.Tensor], tokens: int) -> torch.Tensor:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            return model.generate(**inputs, max_new_tokens=tokens, do_sample=False)

    for batch in itertools.islice(loader, 1):
        decode(batch, 2)
    clock = common.Clock()
    for batch in loader:
        # Padding counts: random weights may choose its id at any step.
        generated += decode(batch, flags.tokens)[:, 1:].numel()
        clock.count(batch)
    clock.report(generated=generated)


if __name__ == "__main__":
    main()
