"""Backbones loaded from Hugging Face folders against torch, and what is refused."""

import json
import os
import pathlib
import shutil

import golden_backbones as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from dtvg_jax.errors import InputError
from dtvg_jax.formats import hugging_face
from dtvg_jax.formats.families import t5
from dtvg_jax.formats.load import load_backbone
from dtvg_jax.formats.tensors import Slot
from dtvg_jax.models import backbone

CASES = golden.CASES


@pytest.mark.parametrize("name", golden.quick(CASES))
@pytest.mark.parametrize("what", ["logits", "plain_logits"])
def test_logits_are_those_of_torch(name: str, what: str) -> None:
    b, v = golden.load(name), golden.values(name)
    prompt = v["prompt"] if what == "logits" else v["prompt"][:0]
    got = b.logits(b.params, prompt, v["inputs"], v["targets"])
    real = v["targets"] >= 0
    golden.assert_close(got[real], v[what][real])


@pytest.mark.parametrize("name", golden.quick(CASES))
def test_logits_with_a_prompt_per_row_are_those_of_torch(name: str) -> None:
    b, v = golden.load(name), golden.values(name)
    prompt = np.stack([v["prompt"]] * 3)
    got = b.logits(b.params, prompt, v["inputs"], v["targets"])
    real = v["targets"] >= 0
    golden.assert_close(got[real], v["logits"][real])


@pytest.mark.parametrize("name", golden.quick(CASES))
def test_greedy_tokens_are_those_of_torch(name: str) -> None:
    v = golden.values(name)
    got = golden.greedy(name)(v["prompt"], v["inputs"], 8)
    np.testing.assert_array_equal(got.tokens, v["greedy"])


@pytest.mark.parametrize("name", ["t5_v1_1", "llama_3_tied"])
def test_bfloat16_parameters_give_near_logits_in_float32(name: str) -> None:
    v = golden.values(name)
    opened = hugging_face.open_checkpoint(golden.GOLDEN / name)
    params = opened.params("bfloat16")
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("bfloat16")}
    b = backbone.build(name, opened.config, params, None, "")
    got = jax.jit(b.logits)(params, v["prompt"], v["inputs"], v["targets"])
    assert got.dtype == jnp.float32
    # bfloat16 keeps 8 bits and sharp attention multiplies its errors: no more than
    # likeness can be asked for.
    real = v["targets"] >= 0
    assert np.corrcoef(got[real].ravel(), v["logits"][real].ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", golden.T5_CASES)
def test_a_written_t5_reads_back_the_same(name: str, tmp_path: pathlib.Path) -> None:
    b = golden.load(name)
    hugging_face.write_t5(tmp_path, b.config, b.params)
    again = hugging_face.open_checkpoint(tmp_path)
    assert again.config == b.config
    jax.tree.map(np.testing.assert_array_equal, again.params("float32"), b.params)
    assert len(b.digest) == 64


def test_names_of_sharding_fit_the_parameters() -> None:
    for name in (
        "t5_v1_0",
        "umt5",
        "llama_biases_linear",
        "qwen2_untied",
        "qwen3_tied",
    ):
        b = golden.load(name)
        names = backbone.logical_axes(b.config)
        assert jax.tree.structure(names) == jax.tree.structure(b.params)
        ranks = jax.tree.map(lambda axes, x: len(axes) == x.ndim, names, b.params)
        assert all(jax.tree.leaves(ranks))


def _copy(name: str, folder: pathlib.Path) -> dict[str, np.ndarray]:
    shutil.copy(golden.GOLDEN / name / "config.json", folder)
    return safetensors.load_file(golden.GOLDEN / name / "model.safetensors")


def _set(folder: pathlib.Path, **attributes: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | attributes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def test_shards_are_read_as_one_file(tmp_path: pathlib.Path) -> None:
    tensors = _copy("llama_3_tied", tmp_path)
    names = sorted(tensors)
    where = {
        n: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, n in enumerate(names)
    }
    for file in sorted(set(where.values())):
        part = {n: tensors[n] for n in names if where[n] == file}
        safetensors.save_file(part, tmp_path / file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    params = hugging_face.open_checkpoint(tmp_path).params("float32")
    jax.tree.map(
        np.testing.assert_array_equal, params, golden.load("llama_3_tied").params
    )
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match=f"not in the folder: {file}"):
        hugging_face.open_checkpoint(tmp_path)


@pytest.mark.parametrize("index", [True, False])
def test_two_sets_of_weights_are_refused(index: bool, tmp_path: pathlib.Path) -> None:
    tensors = _copy("llama_3_tied", tmp_path)
    shard = "model-00001-of-00001.safetensors"
    safetensors.save_file(tensors, tmp_path / shard)
    if index:
        where = {"weight_map": dict.fromkeys(tensors, shard)}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(where))
        hugging_face.open_checkpoint(tmp_path)
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * 3
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="holds two sets of weights: model.safetensor"):
        hugging_face.open_checkpoint(tmp_path)


def test_a_pipe_in_place_of_weights_is_not_opened(tmp_path: pathlib.Path) -> None:
    _copy("t5_v1_0", tmp_path)
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="is a pipe, socket or device"):
        hugging_face.open_checkpoint(tmp_path)


def test_the_digest_follows_config_and_weights(tmp_path: pathlib.Path) -> None:
    tensors = _copy("t5_v1_0", tmp_path)
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    first = hugging_face.open_checkpoint(tmp_path).digest()
    assert hugging_face.open_checkpoint(tmp_path).digest() == first
    tensors["shared.weight"][0, 0] += 1
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    second = hugging_face.open_checkpoint(tmp_path).digest()
    _set(tmp_path, dropout_rate=0.2)
    third = hugging_face.open_checkpoint(tmp_path).digest()
    assert len({first, second, third}) == 3
    # What changes nothing in the model changes nothing in its digest.
    _set(tmp_path, transformers_version="5.24.0", num_beams=4)
    assert hugging_face.open_checkpoint(tmp_path).digest() == third


# What the file says about the head -> (tied, scaled).  Rule: scaled if
# scale_decoder_outputs, else tie_word_embeddings, says so; tied if lm_head is absent
# or equal to the embedding.
HEADS = [
    ({}, None, (True, True)),
    ({"tie_word_embeddings": False}, "other", (False, False)),
    (
        {"scale_decoder_outputs": False, "tie_word_embeddings": True},
        "other",
        (False, False),
    ),
    (
        {"scale_decoder_outputs": False, "tie_word_embeddings": True},
        None,
        (True, False),
    ),
    ({"tie_word_embeddings": True}, "equal", (True, True)),
    ({"tie_word_embeddings": True, "model_type": "mt5"}, "other", (False, False)),
]


@pytest.mark.parametrize(("said", "head", "want"), HEADS)
def test_t5_heads(
    said: dict, head: str | None, want: tuple[bool, bool], tmp_path: pathlib.Path
) -> None:
    tensors = _copy("t5_v1_0", tmp_path)
    _set(
        tmp_path, **({"scale_decoder_outputs": ..., "tie_word_embeddings": ...} | said)
    )
    if head is not None:
        tensors["lm_head.weight"] = tensors["shared.weight"] + (head == "other")
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    opened = hugging_face.open_checkpoint(tmp_path)
    assert (opened.config.tied_head, opened.config.scale_outputs) == want
    assert (Slot("decoder/logits_dense/kernel") in opened.tensors) != want[0]


def test_a_saved_again_v1_1_gives_the_logits_of_torch(tmp_path: pathlib.Path) -> None:
    # Newer transformers write "tied" into the config of a T5 1.1 that has its own head.
    tensors = _copy("t5_v1_1", tmp_path)
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    _set(tmp_path, scale_decoder_outputs=False, tie_word_embeddings=True)
    opened = hugging_face.open_checkpoint(tmp_path)
    again = backbone.build("", opened.config, opened.params("float32"), None, "")
    v = golden.values("t5_v1_1")
    run = jax.jit(again.logits)
    got = run(again.params, v["prompt"], v["inputs"], v["targets"])
    real = v["targets"] >= 0
    golden.assert_close(got[real], v["logits"][real])


def test_other_names_of_the_embedding(tmp_path: pathlib.Path) -> None:
    tensors = _copy("t5_v1_0", tmp_path)
    shared = tensors.pop("shared.weight")
    tensors["decoder.embed_tokens.weight"] = shared
    tensors["encoder.embed_tokens.weight"] = shared.copy()
    tensors[t5.LEFTOVER] = np.zeros((32, 4), np.float32)
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    params = hugging_face.open_checkpoint(tmp_path).params("float32")
    np.testing.assert_array_equal(params["token_embedder"]["embedding"], shared)
    tensors["encoder.embed_tokens.weight"] = shared + 1
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="should be equal"):
        hugging_face.open_checkpoint(tmp_path)


def test_old_and_new_names_of_rope_scaling_are_one(tmp_path: pathlib.Path) -> None:
    tensors = _copy("llama_3_tied", tmp_path)
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    new = hugging_face.open_checkpoint(tmp_path).config
    old = dict(json.loads((tmp_path / "config.json").read_text())["rope_parameters"])
    theta, kind = old.pop("rope_theta"), old.pop("rope_type")
    for key in ("type", "rope_type"):
        _set(
            tmp_path,
            rope_parameters=...,
            rope_theta=theta,
            rope_scaling=old | {key: kind},
        )
        assert hugging_face.open_checkpoint(tmp_path).config == new


def _rename(tensors: dict, old: str, new: str) -> None:
    tensors[new] = tensors.pop(old)


WEIGHTS_REFUSED = [
    (
        lambda t: t.pop("encoder.final_layer_norm.weight"),
        "missing: encoder.final_layer",
    ),
    (lambda t: t.update(extra=np.zeros(2)), "unexpected: extra"),
    (
        lambda t: t.update({"encoder.final_layer_norm.weight": np.zeros(15)}),
        r"misshapen: encoder.final_layer_norm.weight is \[15\], should be \[16\]",
    ),
    (
        lambda t: _rename(t, "encoder.final_layer_norm.weight", "encoder.norm.weight"),
        "missing: encoder.final_layer_norm.weight. unexpected: encoder.norm.weight",
    ),
    (lambda t: t.pop("shared.weight"), "no embedding"),
]


@pytest.mark.parametrize(("change", "sentence"), WEIGHTS_REFUSED)
def test_weights_that_do_not_fit_are_named(
    change, sentence: str, tmp_path: pathlib.Path
) -> None:
    tensors = _copy("t5_v1_0", tmp_path)
    change(tensors)
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=sentence):
        hugging_face.open_checkpoint(tmp_path)


CONFIGS_REFUSED = [
    ("t5_v1_0", {"model_type": "bert"}, "model_type is 'bert'"),
    ("t5_v1_0", {"a_new_trick": 3}, "'a_new_trick' .* is not known here"),
    ("t5_v1_0", {"is_encoder_decoder": False}, "only knows True"),
    ("t5_v1_0", {"num_layers": "2"}, "'num_layers' should be of type int"),
    ("t5_v1_0", {"feed_forward_proj": "gated-gelu"}, "lack the gate wi_1"),
    ("t5_v1_1", {"feed_forward_proj": "relu"}, "have the gate wi_1"),
    ("t5_v1_1", {"dense_act_fn": "silu"}, "it should be 'gelu_new'"),
    ("t5_v1_1", {"num_layers": 3}, "missing: encoder.block.2"),
    ("llama_untied", {"hidden_act": "gelu"}, "only knows 'silu'"),
    (
        "llama_untied",
        {"rope_parameters": ..., "rope_scaling": {"type": "yarn", "factor": 2.0}},
        "'yarn' is not",
    ),
    ("llama_untied", {"tie_word_embeddings": True}, "lm_head.weight differs"),
    ("llama_untied", {"num_key_value_heads": 3}, "cannot share"),
    ("llama_untied", {"num_attention_heads": 0}, "heads = 0: it must be a whole numb"),
    ("llama_untied", {"rms_norm_eps": -1e-6}, "rms_norm_eps = -1e-06: it must be a nu"),
    ("llama_untied", {"attention_dropout": 1.5}, "dropout_rate = 1.5: .* 0 to 0.99"),
    ("llama_untied", {"head_dim": 3}, "head_dim is 3; rotary positions need pairs"),
    (
        "llama_3_tied",
        {"rope_parameters": {"rope_type": "llama3", "low_freq_factor": 4.0}},
        "high_freq_factor 4.0, which should be more than low_freq_factor, 4.0",
    ),
    (
        "llama_3_tied",
        {"rope_parameters": {"rope_type": "linear", "factor": 0}},
        "factor = 0.0: it must be a number from 0.001",
    ),
    (
        "t5_v1_0",
        {"num_layers": 10**6},
        "config.json: num_layers = 1000000: it must be a whole number from 1 to 1,000$",
    ),
    ("t5_v1_0", {"layer_norm_epsilon": -1e-6}, "layer_norm_epsilon = -1e-06: it must"),
    ("t5_v1_0", {"dropout_rate": 1.5}, "dropout_rate = 1.5: it must be a number from"),
    ("t5_v1_0", {"relative_attention_num_buckets": 2}, "num_buckets = 2: it must"),
    ("t5_v1_0", {"relative_attention_max_distance": 3}, "it should be more than"),
    ("t5_v1_0", {"decoder_start_token_id": 10**6}, "but the embedding has"),
    ("llama_untied", {"attention_bias": True}, "missing: .*q_proj.bias"),
    ("llama_biases_linear", {"mlp_bias": False}, "unexpected: .*down_proj.bias"),
    ("qwen2_tied", {"model_type": "llama", "layer_types": ...}, "'max_window_layers'"),
    ("qwen2_tied", {"model_type": "qwen3", "head_dim": 4}, "missing: .*k_norm.weight"),
    ("qwen2_tied", {"use_sliding_window": True}, "gives layers a sliding window"),
    ("qwen3_untied", {"attention_bias": True}, "missing: .*k_proj.bias"),
    ("qwen3_untied", {"head_dim": 8}, "misshapen: .*k_norm.weight"),
]


@pytest.mark.parametrize(("name", "attributes", "sentence"), CONFIGS_REFUSED)
def test_configs_that_would_change_the_model_are_refused(
    name: str, attributes: dict, sentence: str, tmp_path: pathlib.Path
) -> None:
    tensors = _copy(name, tmp_path)
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    _set(tmp_path, **attributes)
    with pytest.raises(InputError, match=sentence):
        hugging_face.open_checkpoint(tmp_path)


def test_an_early_flan_config_is_understood(tmp_path: pathlib.Path) -> None:
    tensors = _copy("t5_v1_1", tmp_path)
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    _set(tmp_path, feed_forward_proj="gelu", is_gated_act=True, dense_act_fn="gelu")
    assert hugging_face.open_checkpoint(tmp_path).config.activations == (
        "gelu",
        "linear",
    )


def test_files_that_are_not_there_or_not_whole(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="config.json does not exist"):
        hugging_face.open_checkpoint(tmp_path)
    _copy("t5_v1_0", tmp_path)
    with pytest.raises(InputError, match="has no model.safetensors"):
        hugging_face.open_checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="save_pretrained"):
        hugging_face.open_checkpoint(tmp_path)
    whole = (golden.GOLDEN / "t5_v1_0" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        hugging_face.open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json is not JSON"):
        hugging_face.open_checkpoint(tmp_path)
    with pytest.raises(InputError, match="should be a Hugging Face folder"):
        load_backbone(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="float32 or bfloat16"):
        load_backbone(str(tmp_path), "float16")
