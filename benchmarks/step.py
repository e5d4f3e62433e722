"""Times training steps against each other: methods, lanes, buckets.

    python -m benchmarks.step [--quick] [--only=methods|lanes|many_lanes|buckets]

Prints JSON: seconds per step (least and median over repeats) and their ratios.
Compared steps alternate in one process, so that drift of the machine affects all of
them; a ratio is the median over rounds of the ratio within a round. Weights are random,
dropout is off, memory is set as the commands set it. Takes about ten minutes on two
cores, two with --quick.
"""

import argparse
import json
import sys
from collections.abc import Callable

from benchmarks import models, sides, turns
from dtvg_jax.cli import host_settings
from dtvg_jax.files import JsonObject
from dtvg_jax.formats.load import load_backbone

PROMPT_LENGTH = 100
QUICK, LONG = 3, 15


def methods(repeats: int) -> JsonObject:
    """Compares full fine-tuning, prompt tuning and DTVG, one lane of 8 rows each."""
    small = models.random_backbone(models.T5_SMALL)
    rows, lengths = 8, (64, 8)
    compared = {
        "full": turns.full_turn(small, rows, lengths, PROMPT_LENGTH),
        "prompt": turns.prompt_turn(small, 1, rows, lengths, PROMPT_LENGTH),
    }
    for sources in (6, 26, 100):
        compared[f"dtvg_{sources}"] = turns.prompt_turn(
            small, 1, rows, lengths, PROMPT_LENGTH, "dtvg", sources
        )
    pairs = [(name, "prompt") for name in compared if name.startswith("dtvg")]
    times = turns.take(compared, repeats)
    found = turns.summary(times, [("prompt", "full"), *pairs])
    return {"rows": rows, "lengths": lengths} | found


def lanes(repeats: int) -> JsonObject:
    """Compares 8 lanes of 4 rows with one lane of 32."""
    found = {}
    for name, backbone, times in (
        ("t5_small", models.random_backbone(models.T5_SMALL), max(3, repeats // 2)),
        ("miniature", load_backbone("miniature"), 4 * repeats),
    ):
        compared = {
            f"{count}x{rows}": turns.prompt_turn(
                backbone, count, rows, (64, 8), PROMPT_LENGTH
            )
            for count, rows in ((1, 32), (8, 4))
        }
        found[name] = turns.against(turns.take(compared, times), "1x32")
    return found


def many_lanes(repeats: int) -> JsonObject:
    """Compares 64 lanes with 16, on the miniature at the quick start's shapes."""
    miniature = load_backbone("miniature")
    compared = {
        f"{count} lanes": turns.prompt_turn(miniature, count, 16, (32, 2), 16)
        for count in (16, 64)
    }
    return turns.against(turns.take(compared, repeats), "16 lanes")


def buckets(repeats: int) -> JsonObject:
    """Compares pooled rows with lanes mapped in one program, all rows equally long."""
    found = {}
    for name, backbone, shape in (
        ("t5_small", models.random_backbone(models.T5_SMALL), (1, 16, (64, 8), 100)),
        ("miniature", load_backbone("miniature"), (36, 16, (32, 2), 16)),
    ):
        compared = {
            "pooled": turns.prompt_turn(backbone, *shape),
            "unpooled": turns.unpooled_turn(backbone, *shape),
        }
        found[name] = turns.against(turns.take(compared, repeats), "unpooled")
    return found


THEMES: dict[str, Callable[[int], JsonObject]] = {
    "methods": methods,
    "lanes": lanes,
    "many_lanes": many_lanes,
    "buckets": buckets,
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three repeats each")
    parser.add_argument("--only", choices=list(THEMES))
    flags = parser.parse_args()
    host_settings.apply(sys.argv)
    found: JsonObject = {"versions": sides.versions("jax", "jaxlib")}
    for name in [flags.only] if flags.only else list(THEMES):
        found[name] = THEMES[name](QUICK if flags.quick else LONG)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
