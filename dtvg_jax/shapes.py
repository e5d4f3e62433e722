"""Axis letters used in every shape of this package, and the array types.

    G  groups of lanes that share a seed      K  lanes (prompts trained at once)
    S  sources                                B  batch rows
    T  input tokens                           L  target tokens
    P  prompt rows                            H  width of the backbone
    V  vocabulary                             N  attention heads (key/value heads)
    D  size of a head                         F  width of the feed-forward layer

Inside `models/` lower-case letters are local: q, k positions of queries and keys,
g query heads that share one key/value head.

Token arrays hold -1 where there is no token, whatever the vocabulary (0 is a real
token for some), so `tokens >= 0` is the mask.
"""

from typing import Any, TypeAlias

from jaxtyping import Array, Bool, Float, Int, Key, PyTree

__all__ = ["Array", "Bool", "Float", "Int", "Key", "Params", "PyTree"]

# A plain nested dict of arrays. Its names are those of the backbone's checkpoint.
# Any: no static type says that a value is an array at one path and a dict at another.
Params: TypeAlias = dict[str, Any]
