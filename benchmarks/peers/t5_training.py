"""Trains a prompt of T5-small's shapes on token rows, as a user of PEFT would.

    python benchmarks/peers/t5_training.py ROWS.npz [--prompt_length=20]

Batches are padded to their longest row. Prints JSON; the first batches, which are
trained on twice, are not timed.
"""

import argparse
import itertools

import common
import models
import torch


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows")
    parser.add_argument("--prompt_length", type=int, default=20)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--warm", type=int, default=3, help="steps before the clock")
    flags = parser.parse_args()
    model = models.t5_small(flags.prompt_length)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.3)
    model.train()
    loader = common.batches(common.read_rows(flags.rows), flags.batch_size)

    def step(batch: dict[str, torch.Tensor]) -> None:
        model(**batch).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    for batch in itertools.islice(loader, flags.warm):
        step(batch)
    clock = common.Clock()
    for batch in loader:
        step(batch)
        clock.count(batch)
    clock.report()


if __name__ == "__main__":
    main()
