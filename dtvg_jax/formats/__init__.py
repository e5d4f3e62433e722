"""Foreign formats in and out: weights, vocabularies."""
