"""Reads config.json: each attribute is used, known to change nothing, or refused."""

from collections.abc import Mapping
from typing import TypeVar, cast

from dtvg_jax.errors import InputError, check_field_types, shown

T = TypeVar("T")
Attributes = Mapping[str, object]

# Attributes of the library, of text generation (we decode greedily) and of classifiers.
IRRELEVANT = frozenset(
    """
    _commit_hash _name_or_path _attn_implementation _attn_implementation_autoset
    architectures attn_implementation auto_map dtype torch_dtype transformers_version
    transformers.js_config gradient_checkpointing initializer_factor initializer_range
    max_position_embeddings model_type n_positions output_past problem_type
    task_specific_params tokenizer_class use_cache license
    bad_words_ids begin_suppress_tokens bos_token_id decoder_start_token_id
    diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
    eos_token_id exponential_decay_length_penalty forced_bos_token_id
    forced_eos_token_id length_penalty
    max_length max_new_tokens min_length no_repeat_ngram_size num_beam_groups num_beams
    num_return_sequences output_scores pad_token_id prefix remove_invalid_values
    repetition_penalty return_dict_in_generate sep_token_id suppress_tokens temperature
    top_k top_p typical_p return_dict torchscript
    classifier_dropout finetuning_task id2label label2id num_labels
    unsloth_fixed unsloth_version
    """.split()
)
# Attributes that would change the model; supported only at their default values.
FIXED = {
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None,
    "is_decoder": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "pruned_heads": {},
    "quantization_config": None,
    "tf_legacy_loss": False,
    "tie_encoder_decoder": False,
    "use_bfloat16": False,
    "use_mrope": False,
}


class Reader:
    """Takes attributes one by one; `finish` judges those that are left."""

    def __init__(self, attributes: Attributes, fixed: Attributes) -> None:
        self.left, self.fixed = dict(attributes), fixed

    def take(self, name: str, kind: type[T], default: T) -> T:
        """Takes a value of type `kind`, or the default if it is absent or null."""
        value = self.left.pop(name, None)
        if value is None:
            return default
        if kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, kind) or (
            isinstance(value, bool) and kind is not bool
        ):
            raise InputError(
                f"'{name}' should be of type {kind.__name__}, not {shown(value)}"
            )
        return cast(T, value)

    def finish(self, made: T) -> T:
        """Returns `made`, the config that was made of the attributes.

        Raises InputError for attributes left that might change the model, and for
        values out of range.
        """
        for name, value in self.left.items():
            if name in self.fixed:
                if value is not None and value != self.fixed[name]:
                    raise InputError(
                        f"'{name}' is {shown(value)}; this program only knows "
                        f"{self.fixed[name]!r}"
                    )
            elif name not in IRRELEVANT:
                raise InputError(
                    f"the attribute {shown(name)} (value {shown(value)}) is not known "
                    "here and might change the model; remove it if it does not"
                )
        check_field_types(made)
        return made
