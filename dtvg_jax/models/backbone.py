"""What a backbone is to the rest of the package: pure functions over parameters."""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import RNGSequences
from jax.sharding import Mesh
from jax.tree_util import DictKey
from jaxtyping import Array, Float, Int, Key

from dtvg_jax.models import layers, llama, sharding, t5
from dtvg_jax.shapes import Params

Config: TypeAlias = t5.T5Config | llama.LlamaConfig
Cache: TypeAlias = t5.Cache | llama.Cache
Prompt: TypeAlias = Float[Array, "P H"] | Float[Array, "B P H"]
# What later positions see of one prompt, of each lane's or of each row's.
Prefix: TypeAlias = Float[Array, "_ P H"] | layers.Stacked


class Architecture(NamedTuple):
    """The code that serves a type of config.

    module: makes the Flax module, whose methods are the functions of a backbone
    init_params: draws parameters, boxed with the names of their axes
    take: chooses the prompt of each row from the prefix of many prompts
    stack: where the parameters of the layers that decode are
    decoder_only: prompt, inputs and targets are one sequence; there is no encoder
    """

    module: Callable[..., nn.Module]
    init_params: Callable[..., Params]
    take: Callable[..., Prefix]
    stack: tuple[str, ...]
    decoder_only: bool


# An architecture is a module of this folder and a line here. A family of models that
# differs only in its files is a module of formats/families.
ARCHITECTURES: dict[type[Config], Architecture] = {
    t5.T5Config: Architecture(
        t5.module, t5.init_params, t5.take, ("decoder", "layers"), decoder_only=False
    ),
    llama.LlamaConfig: Architecture(
        llama.module, llama.init_params, llama.take, ("layers",), decoder_only=True
    ),
}


@runtime_checkable
class Vocabulary(Protocol):
    """Text to token ids and back; `formats.vocabularies` makes them."""

    @property
    def size(self) -> int: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def prefix_ids(self) -> tuple[int, ...]: ...
    @property
    def input_suffix(self) -> str: ...
    def encode(self, texts: Sequence[str], /) -> list[list[int]]: ...
    def decode(self, rows: Sequence[Sequence[int]], /) -> list[str]: ...


class Backbone(NamedTuple):
    """A frozen language model.

    The functions are pure and can be jitted and mapped over lanes with the parameters
    unmapped: `jax.vmap(backbone.logits, in_axes=(None, 0, 0, 0, 0))`. A prompt is
    `[P, H]` for all rows or `[B, P, H]`, one per row; P may be 0. Tokens are int32
    with -1 as padding at the right. Without `dropout_key` nothing is dropped.

    logits(params, prompt, inputs [B, T], targets [B, L], dropout_key=None)
        -> float32 [B, L, V], the scores of each target token given those before it
    prefix(params, prompt) -> all that later positions see of a prompt
    take(prefix, rows [B]) -> the prefix of each row of a batch, from those of K prompts
    logits_after(params, prefix, inputs [B, T], targets [B, L], dropout_key=None)
        -> as `logits`, from a prefix that many batches share; the prefix of one prompt
        serves all rows
    prefill(params, prompt, inputs [B, T], length) -> ([B, V], cache)
        the scores of the first target token, and a cache for `length` tokens
    decode(params, cache, tokens [B]) -> ([B, V], cache)
    embedding(params) -> [V, H], the input embedding
    mesh: the mesh that parameters and rows are spread over; None: one device
    """

    name: str
    decoder_only: bool
    config: Config
    vocabulary: Vocabulary
    params: Params
    digest: str
    logits: Callable[..., Float[Array, "B L V"]]
    prefix: Callable[[Params, Prompt], Prefix]
    take: Callable[[Prefix, Int[Array, " B"]], Prefix]
    logits_after: Callable[..., Float[Array, "B L V"]]
    prefill: Callable[..., tuple[Float[Array, "B V"], Cache]]
    decode: Callable[..., tuple[Float[Array, "B V"], Cache]]
    embedding: Callable[[Params], Float[Array, "V H"]]
    mesh: Mesh | None = None


def build(
    name: str,
    config: Config,
    params: Params,
    vocabulary: Vocabulary | None,
    digest: str,
    mesh: Mesh | None = None,
) -> Backbone:
    """Joins parameters with the functions of their architecture.

    A backbone whose steps are only timed or compiled needs no vocabulary.
    """
    mesh = mesh if mesh is not None and mesh.size > 1 else None
    return Backbone(
        name,
        architecture(config).decoder_only,
        config,
        cast(Vocabulary, vocabulary),
        params,
        digest,
        *functions(config, mesh=mesh),
        mesh,
    )


def with_remat(backbone: Backbone) -> Backbone:
    """Gives the same backbone with rematerialised layers.

    Gradients need the activations of one layer at a time; each layer is computed twice.
    """
    made = functions(backbone.config, remat=True, mesh=backbone.mesh)
    return backbone._replace(**made._asdict())


def with_params(backbone: Backbone, params: Params, mesh: Mesh) -> Backbone:
    """Gives the same backbone on a mesh, with parameters in its `shardings`."""
    b = backbone
    return build(b.name, b.config, params, b.vocabulary, b.digest, mesh)


def apart(backbone: Backbone, params: Params) -> Params:
    """Gives parameters for many decode steps, which `prefill` and `decode` take, too.

    A loop over layers copies the weights of each, which for one position per row costs
    a CPU as much as the products. So lists of arrays take the place of stacks there.
    """
    few = backbone.mesh is None and backbone.config.num_hidden_layers <= layers.APART
    if not few or jax.default_backend() != "cpu":
        return params
    stack = tuple(map(DictKey, architecture(backbone.config).stack))

    def split(path: tuple[object, ...], leaf: Array) -> Array | list[Array]:
        return list(jnp.unstack(leaf)) if path[: len(stack)] == stack else leaf

    return jax.tree.map_with_path(split, params)


def described(config: Config) -> dict[str, object]:
    """Gives a config as plain JSON values, with the name of its network."""
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    return {"network": type(config).__name__} | settings


def architecture(config: Config) -> Architecture:
    """Finds the code that serves a config."""
    return ARCHITECTURES[type(config)]


def looped(config: Config) -> bool:
    """Tells whether the layers of a stack are one loop, see `layers.run`."""
    return config.num_hidden_layers > layers.UNROLLED


class Functions(NamedTuple):
    """The functions of a `Backbone`, which documents them."""

    logits: Callable[..., Float[Array, "B L V"]]
    prefix: Callable[[Params, Prompt], Prefix]
    take: Callable[[Prefix, Int[Array, " B"]], Prefix]
    logits_after: Callable[..., Float[Array, "B L V"]]
    prefill: Callable[..., tuple[Float[Array, "B V"], Cache]]
    decode: Callable[..., tuple[Float[Array, "B V"], Cache]]
    embedding: Callable[[Params], Float[Array, "V H"]]


@functools.cache
def functions(
    config: Config, remat: bool = False, mesh: Mesh | None = None
) -> Functions:
    """Makes the functions of a config; equal arguments give the same objects.

    JAX would compile again for a function object that it has not seen.
    """
    apply = _applied(architecture(config).module(config, remat), mesh)

    def prefix(params: Params, prompt: Prompt) -> Prefix:
        return cast(Prefix, apply(params, prompt, method="prefix"))

    def logits_after(
        params: Params,
        prefix: Prefix,
        inputs: Int[Array, "B T"],
        targets: Int[Array, "B L"],
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B L V"]:
        rngs = None if dropout_key is None else {"dropout": dropout_key}
        scores = apply(params, prefix, inputs, targets, rngs=rngs, method="logits")
        return cast(Array, scores)

    def logits(
        params: Params,
        prompt: Prompt,
        inputs: Int[Array, "B T"],
        targets: Int[Array, "B L"],
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B L V"]:
        before = prefix(params, prompt)
        return logits_after(params, before, inputs, targets, dropout_key)

    def prefill(
        params: Params, prompt: Prompt, inputs: Int[Array, "B T"], length: int
    ) -> tuple[Float[Array, "B V"], Cache]:
        first = apply(params, prompt, inputs, length, method="prefill")
        return cast(tuple[Array, Cache], first)

    def decode(
        params: Params, cache: Cache, tokens: Int[Array, " B"]
    ) -> tuple[Float[Array, "B V"], Cache]:
        following = apply(params, cache, tokens, method="decode")
        return cast(tuple[Array, Cache], following)

    def take(prefix: Prefix, rows: Int[Array, " B"]) -> Prefix:
        with sharding.on(mesh):
            return architecture(config).take(prefix, rows)

    return Functions(logits, prefix, take, logits_after, prefill, decode, embedding)


def _applied(module: nn.Module, mesh: Mesh | None) -> Callable[..., object]:
    """Makes a function that applies a method of a Flax module on a mesh."""

    # jit does not see the mesh, so it is set while the function is traced; another mesh
    # has functions of its own.
    def apply(
        params: Params, *given: object, method: str, rngs: RNGSequences | None = None
    ) -> object:
        with sharding.on(mesh):
            return module.apply({"params": params}, *given, rngs=rngs, method=method)

    return apply


def embedding(params: Params) -> Float[Array, "V H"]:
    """Gives the input embedding, which every architecture keeps in the same place."""
    return params["token_embedder"]["embedding"]


def embedded(params: Params, tokens: Int[Array, "B T"]) -> Float[Array, "B T H"]:
    """Gives the input embedding of tokens; that of padding is any row's."""
    return jnp.take(embedding(params), tokens, axis=0, mode="clip")


def init_params(config: Config, key: Key[Array, ""]) -> Params:
    """Draws float32 parameters for a config, as a plain tree."""
    draw = architecture(config).init_params
    return jax.jit(lambda key: nn.unbox(draw(config, key)))(key)


def param_shapes(config: Config, dtype: str = "float32") -> Params:
    """Gives the tree of shapes that a config's parameters have; nothing is drawn."""
    drawn = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.dtype(dtype)), drawn
    )


def logical_axes(config: Config) -> Params:
    """Gives the tree of sharding names, a PartitionSpec per parameter."""
    draw = architecture(config).init_params
    boxed = jax.eval_shape(lambda: draw(config, jax.random.key(0)))
    return nn.get_partition_spec(boxed)


def shardings(config: Config, mesh: Mesh) -> Params:
    """Gives the tree of shardings that parameters have on a mesh."""
    return jax.tree.map(
        lambda leaf, axes: sharding.of(tuple(axes), leaf.shape, mesh),
        param_shapes(config),
        logical_axes(config),
    )


def token_log_probabilities(
    logits: Float[Array, "B L V"], targets: Int[Array, "B L"]
) -> Float[Array, "B L"]:
    """Gives the log-probability of each target token, 0 where there is none."""
    return jnp.where(targets >= 0, -_cross_entropy(logits, targets), 0.0)


def token_loss(
    logits: Float[Array, "B L V"], targets: Int[Array, "B L"]
) -> Float[Array, ""]:
    """Averages the cross-entropy over the real target tokens, 0 if there are none."""
    real = targets >= 0
    losses = _cross_entropy(logits, targets)
    return jnp.sum(losses, where=real) / jnp.maximum(jnp.sum(real), 1)


def _cross_entropy(
    logits: Float[Array, "B L V"], targets: Int[Array, "B L"]
) -> Float[Array, "B L"]:
    """Gives each token's loss; at padding that of token 0, to be masked."""
    scores = jnp.take_along_axis(logits, jnp.maximum(targets, 0)[..., None], axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - scores[..., 0]
