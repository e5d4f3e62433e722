"""Peak host memory and time of loading a backbone, against the size of its weights.

    python benchmarks/load_memory.py

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
import ml_dtypes
import numpy as np
from safetensors import numpy as safetensors

from dtvg_jax import files
from dtvg_jax.formats import tensors
from dtvg_jax.formats.families import t5 as t5_files
from dtvg_jax.models import backbone, t5

MARK = 1.2
SMALL = {"d_model": 512, "d_kv": 64, "num_heads": 6, "d_ff": 1024}
BASE = {"d_model": 768, "d_kv": 64, "num_heads": 12, "d_ff": 2048}
SHAPES = {
    "t5_v1_1_base": t5.T5Config(32128, num_layers=12, num_decoder_layers=12, **BASE),
    "mt5_small": t5.T5Config(250112, num_layers=8, num_decoder_layers=8, **SMALL),
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
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            write(pathlib.Path(folder), *case[:3])
            rows.append(measure(pathlib.Path(folder), *case))
            print(json.dumps(rows[-1]), file=sys.stderr)
    print(
        json.dumps({"mark": MARK, "device": jax.devices()[0].device_kind, "rows": rows})
    )


def write(folder: pathlib.Path, shape: str, files: int, dtype: str) -> None:
    """Writes a folder of random weights, each file about 1/`files` of them."""
    config = SHAPES[shape]
    attributes = t5_files.attributes(config, dtype)
    (folder / "config.json").write_text(json.dumps(attributes))
    flat = tensors.by_path(backbone.param_shapes(config))
    names = t5_files.tensor_names(config)
    as_is = ("embedding", "scale")
    sizes = {name: math.prod(flat[path].shape) for name, path in names.items()}
    limit, part, parts = sum(sizes.values()) / files, 0, {}
    for name in sorted(names):
        part += sizes[name]
        parts[name] = f"model-{math.ceil(part / limit - 1e-9)}.safetensors"
    rng = np.random.default_rng(0)
    for file in sorted(set(parts.values())):
        arrays = {}
        for name in (name for name in names if parts[name] == file):
            drawn = rng.standard_normal(flat[names[name]].shape, np.float32)
            stored = drawn if names[name].rpartition("/")[2] in as_is else drawn.T
            arrays[name] = np.ascontiguousarray(stored).astype(
                ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
            )
        safetensors.save_file(arrays, folder / file)
    index = {"metadata": {}, "weight_map": parts}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def measure(
    folder: pathlib.Path, shape: str, files: int, stored: str, dtype: str
) -> files.JsonObject:
    command = [sys.executable, "-c", CHILD, str(folder), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    got = json.loads(done.stdout)
    shard = max(p.stat().st_size for p in folder.glob("*.safetensors"))
    return {
        "shape": shape,
        "files": files,
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
