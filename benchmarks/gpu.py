"""Measures training steps on one NVIDIA GPU, most wanted first, until time is up.

    python -m benchmarks.gpu [--limit_s=480] [--peer_python=PYTHON] [--small]

Needs no network, no data, no TensorFlow and no SeqIO. Every measurement is a line of
JSON as soon as it is there: logits of the tiny golden backbones against PyTorch's;
steps of T5-base and T5-large, P = 100, with seconds, operations, their share of the
card's peak (MFU) and the process's peak of memory so far; cuDNN's attention against
XLA's; with --peer_python the same step in PyTorch with PEFT. How many there was no time
for is the last line. --small runs tiny shapes, anywhere.
"""

import argparse
import json
import pathlib
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from benchmarks import models, rows, sides, turns
from dtvg_jax.files import JsonObject
from dtvg_jax.formats import hugging_face
from dtvg_jax.models import attention
from dtvg_jax.models import backbone as backbones
from dtvg_jax.training import utilisation

GOLDEN = pathlib.Path(__file__).parents[1] / "tests" / "golden"
PROMPT_LENGTH, TARGETS = 100, 8
RESERVE = 45  # seconds that the longest measurement may take, compiling included


class Case(NamedTuple):
    """A step: lanes of so many rows, inputs of one length, sources of DTVG."""

    model: str
    dtype: str
    lanes: int
    rows: int
    inputs: int
    sources: int


CONFIGS = {
    "t5-base": models.t5(768, 12, 3072, 12),
    "t5-large": models.t5(1024, 16, 4096, 24),
    "tiny": models.t5(32, 4, 64, 2),
}
CASES = [
    Case("t5-base", "bfloat16", 1, 32, 64, 0),
    Case("t5-base", "bfloat16", 26, 32, 64, 0),
    *(Case("t5-base", "bfloat16", 1, 32, 256, s) for s in (0, 6, 26, 100)),
    Case("t5-large", "bfloat16", 1, 32, 256, 6),
    Case("t5-base", "float32", 1, 32, 64, 6),
    Case("t5-base", "float32", 1, 32, 256, 6),
    Case("t5-large", "bfloat16", 26, 16, 64, 6),
    Case("t5-large", "bfloat16", 1, 32, 64, 6),
    Case("t5-large", "float32", 1, 32, 64, 6),
    Case("t5-large", "float32", 1, 32, 256, 6),
]
ATTENTION = [Case("t5-base", "bfloat16", 1, 32, 256, 0)]
SMALL = [Case("tiny", "bfloat16", 1, 2, 8, 0), Case("tiny", "float32", 2, 2, 8, 3)]


def golden(name: str) -> JsonObject:
    """Compares a tiny backbone's logits with those that PyTorch gave."""
    opened = hugging_face.open_checkpoint(GOLDEN / name)
    params = opened.params("float32")
    b = backbones.build(name, opened.config, params, None, "")
    with np.load(GOLDEN / name / "values.npz") as file:
        v = dict(file)
    # TF32 has 10 bits of a fraction, too few to compare with.
    with jax.default_matmul_precision("highest"):
        got = jax.jit(b.logits)(params, v["prompt"], v["inputs"], v["targets"])
    real, want = v["targets"] >= 0, v["logits"]
    error = np.abs(np.asarray(got)[real] - want[real]).max() / np.abs(want[real]).max()
    return {"golden": name, "error": float(error), "within": bool(error < 1e-4)}


def operations(case: Case) -> int:
    """Counts the operations of a step as the MFU of a job does."""
    count = case.lanes * case.rows
    real = utilisation.RealRows(
        inputs=np.full(count, case.inputs),
        targets=np.full(count, TARGETS),
        lanes=np.repeat(np.arange(case.lanes), case.rows),
    )
    model = utilisation.Prompted(CONFIGS[case.model], PROMPT_LENGTH)
    return utilisation.operations(model, real)


def measured(case: Case, cudnn: bool | None = None) -> JsonObject:
    """Times a step; with `cudnn` said, by that attention."""
    backbone = models.random_backbone(CONFIGS[case.model], dtype=case.dtype)
    turn = turns.prompt_turn(
        backbone,
        case.lanes,
        case.rows,
        (case.inputs, TARGETS),
        PROMPT_LENGTH,
        "dtvg" if case.sources else "prompt_tuning",
        case.sources,
    )
    began = time.perf_counter()
    if cudnn is None:
        jax.block_until_ready(turn())
    else:
        with attention.kernel(cudnn):
            jax.block_until_ready(turn())
    compiled = time.perf_counter() - began
    jax.block_until_ready(turn())
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 3 and len(times) < 30):
        began = time.perf_counter()
        jax.block_until_ready(turn())
        times.append(time.perf_counter() - began)
    seconds, count = statistics.median(times), operations(case)
    device = jax.devices()[0]
    peak = utilisation.peak([device], case.dtype)
    memory = device.memory_stats() or {}
    return case._asdict() | {
        "cudnn": cudnn,
        "seconds": round(seconds, 5),
        "least": round(min(times), 5),
        "to_compile": round(compiled, 1),
        "operations": count,
        "mfu": round(count / seconds / peak, 3) if peak else None,
        "peak_bytes_so_far": memory.get("peak_bytes_in_use"),
    }


def peer(python: str, case: Case) -> JsonObject:
    """Times the same step in PyTorch with PEFT."""
    table = rows.of_one_length(
        10 * case.rows, (case.inputs, TARGETS), CONFIGS[case.model].vocab_size
    )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "rows.npz")
        rows.write(path, *rows.of_table(table, np.arange(10 * case.rows)))
        found = sides.run(
            sides.peer(
                python,
                "t5_training.py",
                str(path),
                f"--prompt_length={PROMPT_LENGTH}",
                f"--batch_size={case.rows}",
                f"--model={case.model}",
                f"--dtype={case.dtype}",
                "--device=cuda",
                "--no_dropout",
            )
        )
    seconds = round(found.numbers["seconds"] / 10, 5)
    return {"peer": "PyTorch with PEFT", "seconds": seconds} | case._asdict()


def measurements(flags: argparse.Namespace) -> Iterator[Callable[[], JsonObject]]:
    """Lists what is measured, most wanted first."""
    for name in ("t5_v1_1", "llama_3_tied"):
        yield lambda name=name: golden(name)
    if flags.small:
        yield from [lambda case=case: measured(case) for case in SMALL]
        return
    first, *others = CASES
    yield lambda: measured(first)
    for case in ATTENTION:
        yield lambda case=case: measured(case, cudnn=True)
        yield lambda case=case: measured(case, cudnn=False)
    if flags.peer_python:
        for case in (first, Case("t5-base", "bfloat16", 1, 32, 256, 0)):
            yield lambda case=case: peer(flags.peer_python, case)
    yield from [lambda case=case: measured(case) for case in others]


def main() -> None:
    """Measures until all is done or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit_s", type=int, default=480)
    parser.add_argument("--peer_python", help="a Python with the extra bench and CUDA")
    parser.add_argument("--small", action="store_true")
    flags = parser.parse_args()
    # Whatever hangs, the process ends: the system's own action for this signal.
    signal.alarm(flags.limit_s)
    began = time.monotonic()
    device = {"device": jax.devices()[0].device_kind}
    print(json.dumps(device | sides.versions("jax", "jaxlib")), flush=True)
    left = 0
    for measure in measurements(flags):
        if time.monotonic() - began > flags.limit_s - RESERVE:
            left += 1
            continue
        try:
            found = measure()
        except Exception as error:  # what one cannot do says nothing of the next
            found = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps(found), flush=True)
    print(json.dumps({"not_measured": left}), flush=True)
    signal.alarm(0)


if __name__ == "__main__":
    main()
