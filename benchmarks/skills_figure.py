"""Plots which skills each task of the miniature needs, for docs/miniature.md.

python -m benchmarks.skills_figure docs/miniature_skills.svg
"""

import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

from tasks.miniature.needs import NEEDS, SKILLS
from tasks.task_info import TASKS


def main(path: str) -> None:
    """Writes the figure."""
    names = [info.name for info in TASKS.values()]
    needed = np.array([[s in NEEDS[name] for name in names] for s in SKILLS], float)
    roles = np.array([TASKS[name].role == "source" for name in names])
    plt.rcParams["svg.hashsalt"] = "skills"  # the same figure has the same bytes
    figure, axes = plt.subplots(figsize=(9, 4.4), layout="constrained")
    axes.imshow(needed * (1 + roles), cmap="Blues", vmin=0, vmax=2.6, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(SKILLS)), list(SKILLS.values()), fontsize=8)
    axes.set_xticks(np.arange(len(names)) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(SKILLS)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title("What each task needs; the six sources dark", fontsize=9, loc="left")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
