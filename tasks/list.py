"""Command: `python -m tasks.list [--tfds_data_dir DIR]` prints the catalogue of tasks.

With a folder of prepared data, the rows of every split that is prepared there are
counted; without one, the official sizes are shown.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from tasks.table import SPLITS, TASKS, TaskInfo

_HEAD = ("task", "builder", "role", "metrics", "lengths", *SPLITS)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tasks.list")
    parser.add_argument("--tfds_data_dir", help="folder of prepared TFDS data")
    folder = parser.parse_args(argv).tfds_data_dir
    if folder and not pathlib.Path(folder).is_dir():
        print(f"error: the folder {folder} does not exist.", file=sys.stderr)
        return 2
    rows: list[tuple[str, ...]] = [_HEAD]
    for info in TASKS.values():
        sizes = _prepared_sizes(info, folder) if folder else info.sizes
        shown = [f"{size:,}" if size else "-" for size in sizes]
        lengths = f"{info.inputs_length}/{info.targets_length}"
        metrics = ",".join(info.metrics)
        rows.append((info.name, info.builder, info.role, metrics, lengths, *shown))
    for line in _aligned(rows):
        print(line)
    print(
        f"Rows as carved out of {folder}; -: not prepared there, or too few to carve."
        if folder
        else "Rows of the official data; --tfds_data_dir counts those prepared."
    )
    return 0


def _prepared_sizes(info: TaskInfo, folder: str) -> list[int]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tasks import splits  # TensorFlow takes seconds to import: only where needed

    sizes = []
    for split in SPLITS:
        try:
            sizes.append(splits.count(info, split, folder))
        except ValueError:
            sizes.append(0)
    return sizes


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = len(_HEAD) - len(SPLITS)
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i >= numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


if __name__ == "__main__":
    sys.exit(main())
