"""Which sources can help a target of the miniature, by construction.

A source is useful where its rows need a skill that the target's rows need too, in full
or in part (docs/miniature.md has the reasons). superglue-record and squad share nothing
with any of these targets, so they are useful to none. Sharing the digits of the answers
is not counted.
"""

USEFUL: dict[str, tuple[str, ...]] = {
    "rte": ("mnli",),
    "mrpc": ("qqp", "mnli"),
    "cola": ("sst2",),
    "superglue-boolq": ("qnli", "mnli"),
    "superglue-cb": ("mnli",),
    "superglue-wic": ("qqp",),
}
