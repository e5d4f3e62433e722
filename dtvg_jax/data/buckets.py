"""Lengths that rows are padded to: few, so that few programs are compiled."""

BUCKETS = (32, 48, 64, 96, 128, 192, 256, 384, 512)


def bucket(length: int, bound: int) -> int:
    """Chooses the least bucket that holds `length` tokens, the bound being the last.

    Raises:
      ValueError: where the length is above the bound.
    """
    if length > bound:
        raise ValueError(f"{length} tokens do not fit into {bound}")
    return min(next((b for b in BUCKETS if b >= length), bound), bound)
