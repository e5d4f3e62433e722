"""Peak host memory and time of loading a backbone, against the size of its weights.

    python -m benchmarks.load_memory

Writes Hugging Face folders of published shapes with random weights, loads each in its
own process and prints JSON. The memory is the growth of the process's resident peak
over the level after the imports; the limit is 1.2 times the larger of the parameters in
the target dtype and the largest file.
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import numpy as safetensors

from dtvg_jax.files import JsonObject
from dtvg_jax.formats import hugging_face, tensors
from dtvg_jax.formats.families import t5 as t5_files
from dtvg_jax.models import backbone
from dtvg_jax.models.t5_config import T5Config

LIMIT = 1.2
SHAPES = {
    "t5_v1_1_base": T5Config(
        vocab_size=32128,
        d_model=768,
        d_kv=64,
        num_heads=12,
        d_ff=2048,
        num_layers=12,
        num_decoder_layers=12,
    ),
    "mt5_small": T5Config(
        vocab_size=250112,
        d_model=512,
        d_kv=64,
        num_heads=6,
        d_ff=1024,
        num_layers=8,
        num_decoder_layers=8,
    ),
}
# Shape, number of files, dtype stored, dtype loaded.
CASES = [
    ("t5_v1_1_base", 1, "float32", "float32"),
    ("t5_v1_1_base", 1, "float32", "bfloat16"),
    ("t5_v1_1_base", 4, "bfloat16", "float32"),
    ("mt5_small", 1, "float32", "float32"),
    ("mt5_small", 3, "float32", "bfloat16"),
]
CHILD = """
import json, pathlib, sys, time
import jax
from dtvg_jax.formats import hugging_face
def status(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) * 1024
jax.device_put(0.0)
before = status("VmRSS")
start = time.perf_counter()
opened = hugging_face.open_checkpoint(pathlib.Path(sys.argv[1]))
params = opened.params(sys.argv[2])
seconds = time.perf_counter() - start
size = sum(x.nbytes for x in jax.tree.leaves(params))
print(json.dumps({"peak": status("VmHWM") - before, "size": size, "seconds": seconds}))
"""


def main() -> None:
    """Measures every case, and prints them all as JSON."""
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            write(pathlib.Path(folder), *case[:3])
            rows.append(measure(pathlib.Path(folder), *case))
            print(json.dumps(rows[-1]), file=sys.stderr)
    print(
        json.dumps(
            {"limit": LIMIT, "device": jax.devices()[0].device_kind, "rows": rows}
        )
    )


def tensor_shapes(config: T5Config) -> dict[str, tuple[int, ...]]:
    """Gives the shapes of the tensors that a Hugging Face folder has, by name."""
    leaves = tensors.by_path(backbone.param_shapes(config))
    shapes = {}
    for name, slot in t5_files.tensor_names(config).items():
        shape = leaves[slot.path].shape
        shape = shape if slot.layer is None else shape[1:]
        transposed = hugging_face.is_transposed(slot.path)
        shapes[name] = shape[::-1] if transposed else shape
    return shapes


def write(folder: pathlib.Path, shape: str, count: int, dtype: str) -> None:
    """Writes a folder of random weights into `count` files or one more."""
    config = SHAPES[shape]
    attributes = t5_files.attributes(config, dtype)
    (folder / "config.json").write_text(json.dumps(attributes))
    drawn = tensor_shapes(config)
    sizes = {name: math.prod(tensor) for name, tensor in drawn.items()}
    limit, part, parts = sum(sizes.values()) / count, 0, {}
    for name in sorted(drawn):
        part += sizes[name]
        parts[name] = f"model-{math.ceil(part / limit - 1e-9)}.safetensors"
    rng = np.random.default_rng(0)
    for file in sorted(set(parts.values())):
        arrays = {
            name: rng.standard_normal(tensor, np.float32).astype(jnp.dtype(dtype))
            for name, tensor in drawn.items()
            if parts[name] == file
        }
        safetensors.save_file(arrays, folder / file)
    index = {"metadata": {}, "weight_map": parts}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def measure(
    folder: pathlib.Path, shape: str, count: int, stored: str, dtype: str
) -> JsonObject:
    """Loads a folder in a process of its own, and compares its peak with the sizes."""
    command = [sys.executable, "-c", CHILD, str(folder), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    got = json.loads(done.stdout)
    shard = max(p.stat().st_size for p in folder.glob("*.safetensors"))
    return {
        "shape": shape,
        "files": count,
        "stored": stored,
        "loaded": dtype,
        "parameters_mb": round(got["size"] / 1e6),
        "largest_file_mb": round(shard / 1e6),
        "peak_mb": round(got["peak"] / 1e6),
        "ratio": round(got["peak"] / max(got["size"], shard), 3),
        "seconds": round(got["seconds"], 2),
    }


if __name__ == "__main__":
    main()
