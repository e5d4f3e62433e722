"""Pretraining of a small T5 so that its skills can be asked for by a prompt."""
