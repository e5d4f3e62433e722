"""Command: `python -m tasks.miniature --out DIR [--seed 0]` writes the datasets."""

import argparse
import logging
import os
import sys
import time


def main() -> int:
    """Writes the miniature unless it is there, and says which."""
    parser = argparse.ArgumentParser(prog="python -m tasks.miniature")
    parser.add_argument(
        "--out", type=_local, required=True, help="folder of the TFDS data"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the world")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel("ERROR")  # TFDS warns of itself
    from . import datasets

    start = time.monotonic()
    try:
        written = datasets.write(args.out, args.seed)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = time.monotonic() - start
    print(f"{args.out}: " + (f"written in {seconds:.0f} s" if written else "complete"))
    return 0


def _local(folder: str) -> str:
    """Gives the folder, or refuses what would be written below "gs:" here."""
    if "://" in folder:
        raise argparse.ArgumentTypeError(
            f"{folder} is an address: give the path of a local or mounted folder"
        )
    return folder


if __name__ == "__main__":
    sys.exit(main())
