"""Ranges of a config's numbers; no published model is beyond them."""

from typing import Annotated

from dtvg_jax.errors import Bounds

Vocabulary = Annotated[int, Bounds(1, 2**24)]
Size = Annotated[int, Bounds(1, 2**20)]
Buckets = Annotated[int, Bounds(4, 2**20)]
Layers = Annotated[int, Bounds(1, 1000)]
Epsilon = Annotated[float, Bounds(1e-12, 1)]
Dropout = Annotated[float, Bounds(0, 0.99)]
TokenId = Annotated[int, Bounds(0, 2**24)]
Factor = Annotated[float, Bounds(1e-3, 1e12)]
