"""Command: measures, prints both tables and the success criteria, writes JSON."""

import argparse
import contextlib
import json
import pathlib
import sys
import time

from dtvg_jax.cli.quiet_imports import quiet_libraries


def main() -> None:
    """Parses the flags and runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promptable")
    parser.add_argument("--backbone", default="miniature", help="name or folder")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0")
    parser.add_argument("--steps", type=int, default=200, help="of every training run")
    parser.add_argument("--target_rows", type=int, help="of a target, at most")
    parser.add_argument("--out", type=pathlib.Path, help="scores as JSON")
    parser.add_argument("--cache_dir", default="~/.cache/dtvg_jax")
    flags = parser.parse_args()
    quiet_libraries()
    from dtvg_jax.errors import InputError

    try:
        _run(flags)
    except InputError as error:
        sys.exit(f"error: {error}")


def _run(flags: argparse.Namespace) -> None:
    from benchmarks.promptable import criteria, measure, world
    from dtvg_jax.cli import compilation_cache
    from dtvg_jax.errors import InputError
    from dtvg_jax.formats.load import load_backbone

    numbers = (flags.seeds, flags.steps, flags.target_rows)
    if any(number is not None and number < 1 for number in numbers):
        raise InputError(
            "--seeds, --steps and --target_rows must be whole numbers >= 1"
        )
    began = time.monotonic()
    compilation_cache.enable(flags.cache_dir)
    backbone = load_backbone(flags.backbone)
    cache = pathlib.Path(flags.cache_dir).expanduser()
    tables = world.tables(backbone, cache, flags.target_rows)
    ready = round(time.monotonic() - began, 1)
    print(f"data: {ready} s", file=sys.stderr, flush=True)
    work = measure.prepare(backbone, tables, flags.seeds, flags.steps)
    with contextlib.redirect_stdout(sys.stderr):  # stdout has only the tables
        scores, seconds = measure.measure(work)
    judged = criteria.judge(scores, measure.chance(), world.SOURCES, world.TARGETS)
    if flags.out:
        results = {
            "backbone": backbone.name,
            "backbone_digest": backbone.digest,
            "seeds": list(work.p_init),
            "steps": flags.steps,
            "target_rows": flags.target_rows,
            "seconds": {"data": ready} | seconds,
            "scores": scores,
            "criteria": [one._asdict() for one in judged],
        }
        flags.out.write_text(json.dumps(results, indent=1) + "\n")
    print(criteria.every_task_table(scores, world.TASKS), end="\n\n")
    print(criteria.targets_table(scores, world.RELATED, world.UNRELATED), end="\n\n")
    print(criteria.criteria_text(judged))


if __name__ == "__main__":
    main()
