"""All datasets of the miniature: what is drawn, and the hard rows that are added."""

from . import hard_rows, reading, statements, writing
from .rows import Dataset, Row, rows

DATASETS: dict[str, Dataset] = {
    dataset.builder: dataset
    for dataset in (
        *statements.SOURCES,
        *reading.SOURCES,
        *statements.TARGETS,
        *reading.TARGETS,
        *writing.TARGETS,
    )
}


def all_rows(builder: str, seed: int) -> dict[str, list[tuple[int, Row]]]:
    """Gives every split of a dataset: the drawn rows, and the hard ones behind them."""
    dataset = DATASETS[builder]
    splits = rows(dataset, seed)
    for split, hard in hard_rows.ROWS.get(builder, {}).items():
        drawn = splits.setdefault(split, [])
        groups = len(drawn)  # beyond all numbers that were given
        for k, row in enumerate(hard):
            i = len(drawn)
            told = row if "idx" in row else dataset.tell_apart(row, i, groups + k)
            drawn.append((i, told))
    return splits
