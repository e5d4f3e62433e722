"""Command: `python -m tasks.list [--tfds_data_dir DIR]` prints the catalogue of tasks.

With a folder of prepared data, the rows of every split that is prepared there are
counted; without one, the official sizes are shown. `--lengths` measures there what
truncating the texts costs, in the tokens of `--vocabulary`.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from .task_info import SPLITS, TASKS, TaskInfo

_HEAD = ("task", "builder", "role", "metrics", "lengths", *SPLITS)
_COST_HEAD = (
    ("task", "lengths", "split")
    + ("rows", "longest", "inputs truncated", "targets truncated", "answers lost")
)  # fmt: skip
Rows = Sequence[Sequence[str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tasks.list")
    parser.add_argument("--tfds_data_dir", help="folder of prepared TFDS data")
    parser.add_argument(
        "--lengths", action="store_true", help="measure what truncating the texts costs"
    )
    parser.add_argument("--vocabulary", help="SentencePiece model; bytes without one")
    args = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    folder, model = args.tfds_data_dir, args.vocabulary
    missing = [p for p in (folder, model) if p and not pathlib.Path(p).exists()]
    if missing or (args.lengths and not folder):
        reason = f"{missing[0]} does not exist" if missing else "--lengths reads data"
        print(f"error: {reason}: give --tfds_data_dir=DIR.", file=sys.stderr)
        return 2
    print("\n".join(_costs(folder, model) if args.lengths else _catalogue(folder)))
    return 0


def _catalogue(folder: str | None) -> list[str]:
    rows: list[tuple[str, ...]] = [_HEAD]
    for info in TASKS.values():
        sizes = _prepared_sizes(info, folder) if folder else info.sizes
        shown = [f"{size:,}" if size else "-" for size in sizes]
        metrics = ",".join(info.metrics)
        rows.append(
            (info.name, info.builder, info.role, metrics, _lengths(info), *shown)
        )
    last = (
        f"Rows as carved out of {folder}; -: not prepared there, or too few to carve."
        if folder
        else "Rows of the official data; --tfds_data_dir counts those prepared."
    )
    return [*_aligned(rows, len(SPLITS)), last]


def _lengths(info: TaskInfo) -> str:
    return f"{info.inputs_length}/{info.targets_length}"


def _prepared_sizes(info: TaskInfo, folder: str) -> list[int]:
    from . import splits  # TensorFlow takes seconds to import: only where needed

    sizes = []
    for split in SPLITS:
        try:
            sizes.append(splits.count(info, split, folder))
        except ValueError:
            sizes.append(0)
    return sizes


def _costs(folder: str, model: str | None) -> list[str]:
    """Measure the first of train, validation and test that is prepared."""
    import seqio

    from . import lengths

    vocabulary = (
        seqio.SentencePieceVocabulary(model) if model else seqio.ByteVocabulary()
    )
    rows: list[tuple[str, ...]] = [_COST_HEAD]
    for info in TASKS.values():
        sizes = dict(zip(SPLITS, _prepared_sizes(info, folder), strict=True))
        split = next((split for split in SPLITS if sizes[split]), None)
        if split is None:
            rows.append((info.name, _lengths(info), "-", *["-"] * 5))
            continue
        cost = lengths.measure(info, split, folder, vocabulary)
        lost = "-" if cost.answers_lost is None else f"{cost.answers_lost:.1f} %"
        shares = (
            f"{cost.inputs_truncated:.1f} %",
            f"{cost.targets_truncated:.1f} %",
            lost,
        )
        counts = (f"{cost.rows:,}", f"{cost.longest:,}")
        rows.append((info.name, _lengths(info), split, *counts, *shares))
    last = (
        f"In tokens of {model or 'bytes'}, with the end; shares of rows. Answers lost: "
        "none of a row's answers is left in its text."
    )
    return [*_aligned(rows, 5), last]


def _aligned(rows: Rows, numbers: int) -> list[str]:
    """Line columns up, the last `numbers` of them at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = len(widths) - numbers
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i >= texts else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


if __name__ == "__main__":
    sys.exit(main())
