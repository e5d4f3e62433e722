"""WinoGrande, Yelp polarity, SciTail and PAWS; T5 has none of them.

Their forms with words keep the reference's order.
"""

from .registration import register_labels

_PREMISE = ("premise", "hypothesis")
_REVIEW = {"sentence": "text"}

# With words for labels, the options are called what the labels call them. The reference
# shows the first option twice, so that the second cannot be known.
register_labels(
    "winogrande",
    {"sentence": "sentence", "option0": "option1", "option1": "option2"},
    words_fields=("sentence", "option1", "option2"),
    reference_fields={
        "sentence": "sentence",
        "option0": "option1",
        "option1": "option1",
    },
)
register_labels("yelp_polarity", _REVIEW, words_fields=_REVIEW)
register_labels("scitail", _PREMISE, words_fields=_PREMISE)
register_labels("paws", ("sentence1", "sentence2"))
