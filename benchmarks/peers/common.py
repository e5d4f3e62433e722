"""What the scripts of the PyTorch side share. They know nothing of dtvg_jax."""

import json
import resource
import time
from collections.abc import Iterable
from importlib import metadata

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

IGNORED = -100  # labels that PyTorch's loss leaves out
Row = tuple[torch.Tensor, torch.Tensor]


def read_rows(path: str) -> list[Row]:
    """Reads pairs of input and target ids."""
    with np.load(path) as stored:
        columns = [
            np.split(stored[ids].astype(np.int64), stored[offsets][1:-1])
            for ids, offsets in (
                ("inputs", "input_offsets"),
                ("targets", "target_offsets"),
            )
        ]
    return [
        (torch.from_numpy(inputs), torch.from_numpy(targets))
        for inputs, targets in zip(*columns, strict=True)
    ]


def collate(rows: list[Row]) -> dict[str, torch.Tensor]:
    """Pads a batch to its longest input and target, as transformers' collators do."""
    inputs, targets = zip(*rows, strict=True)
    input_ids = pad_sequence(inputs, batch_first=True, padding_value=0)
    lengths = torch.tensor([len(row) for row in inputs])
    return {
        "input_ids": input_ids,
        "attention_mask": (torch.arange(input_ids.shape[1]) < lengths[:, None]).long(),
        "labels": pad_sequence(targets, batch_first=True, padding_value=IGNORED),
    }


def batches(rows: list[Row], batch_size: int) -> Iterable[dict[str, torch.Tensor]]:
    """Loads batches in the order of the file, which is shuffled already."""
    return DataLoader(rows, batch_size=batch_size, collate_fn=collate)  # type: ignore


class Clock:
    """Wall and CPU time since it was made, and the tokens that were counted."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._real = self._positions = 0

    def count(self, batch: dict[str, torch.Tensor]) -> None:
        """Adds a batch's input tokens and the positions that hold them."""
        self._real += int(batch["attention_mask"].sum())
        self._positions += batch["attention_mask"].numel()

    def report(self, **more: object) -> None:
        """Prints what was measured as one line of JSON."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = {
            "seconds": round(time.perf_counter() - self._wall, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "peak_mb": peak // 1024,
            "real": self._real,
            "positions": self._positions,
            "threads": torch.get_num_threads(),
            "versions": {
                name: metadata.version(name)
                for name in ("torch", "transformers", "peft")
            },
        }
        print(json.dumps(found | more))
