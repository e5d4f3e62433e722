"""Trains a prompt of a T5's shapes on token rows, as a user of PEFT would.

    python benchmarks/peers/t5_training.py ROWS.npz [--model=t5-small]
        [--prompt_length=20] [--device=cuda] [--dtype=bfloat16] [--no_dropout]

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
    parser.add_argument("--model", choices=list(models.T5), default="t5-small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="of the frozen weights")
    parser.add_argument("--no_dropout", action="store_true")
    flags = parser.parse_args()
    model = models.t5(flags.model, flags.prompt_length).to(flags.device)
    for frozen in (p for p in model.parameters() if not p.requires_grad):
        frozen.data = frozen.data.to(getattr(torch, flags.dtype))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.3)
    model.train(not flags.no_dropout)
    loader = common.batches(common.read_rows(flags.rows), flags.batch_size)

    def step(batch: dict[str, torch.Tensor]) -> None:
        batch = {name: x.to(flags.device) for name, x in batch.items()}
        with torch.autocast(flags.device, enabled=flags.dtype != "float32"):
            model(**batch).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    for batch in itertools.islice(loader, flags.warm):
        step(batch)
    if flags.device == "cuda":
        torch.cuda.synchronize()
    clock = common.Clock()
    for batch in loader:
        step(batch)
        clock.count(batch)
    if flags.device == "cuda":
        torch.cuda.synchronize()
    clock.report()


if __name__ == "__main__":
    main()
