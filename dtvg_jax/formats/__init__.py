"""Reads and writes the formats of other libraries: weights, vocabularies, prompts."""
