"""The T5 of tests that need any T5, but a small one."""

from dtvg_jax.models.t5_config import T5Config

CONFIG = T5Config(
    vocab_size=64,
    d_model=16,
    d_kv=4,
    num_heads=2,
    d_ff=32,
    num_layers=1,
    num_decoder_layers=1,
)
