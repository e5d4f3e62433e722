"""The commands; each is `python -m dtvg_jax.NAME` too."""
