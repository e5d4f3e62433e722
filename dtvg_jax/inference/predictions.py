"""Predictions on disk: a JSON line per row of a split."""

import json
from collections.abc import Sequence

from dtvg_jax import files
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.training import hosts


@hosts.written_once
def write(path: files.Path, table: TokenTable, answers: Sequence[str]) -> None:
    """Writes the number of each row, the answer, and the gold one."""
    lines = [
        json.dumps({"row": i, "prediction": answer, "target": gold}, ensure_ascii=False)
        for i, (answer, gold) in enumerate(zip(answers, table.golds, strict=True))
    ]
    files.write_bytes(path, "".join(line + "\n" for line in lines).encode())
