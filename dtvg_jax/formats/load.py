"""Loads a backbone from a Hugging Face or T5X folder, or the one in the package."""

import os
import pathlib
import shutil
from typing import NamedTuple

from jax.sharding import Mesh

import dtvg_jax
from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import copies
from dtvg_jax.formats import hugging_face, t5x, vocabularies
from dtvg_jax.formats.tensors import Checkpoint
from dtvg_jax.models import backbone

EMBEDDED = pathlib.Path(dtvg_jax.__file__).parent / "models" / "embedded"
DTYPES = ("float32", "bfloat16")
CACHE = "~/.cache/dtvg_jax"


class Source(NamedTuple):
    """A backbone's files: open and checked, the weights not read yet.

    Code that needs only the config, the vocabulary or the shapes takes them from here.
    `folder` is a copy where `place`, which the user gave, is an address.
    """

    name: str
    folder: pathlib.Path
    checkpoint: Checkpoint
    place: str

    @property
    def config(self) -> backbone.Config:
        return self.checkpoint.config

    def vocabulary(self) -> vocabularies.Vocabulary:
        """Loads the vocabulary of the folder, or of the one above a T5X checkpoint."""
        found = self.vocabulary_files()
        return vocabularies.load_vocabulary(
            found[0].parent if found else self.folder,
            decoder_only=backbone.architecture(self.config).decoder_only,
            rows=self.config.vocab_size,
        )

    def vocabulary_files(self) -> list[pathlib.Path]:
        """Lists the files of the vocabulary."""
        places = [self.folder]
        if t5x.NAME.match(self.folder.name):
            places.append(self.folder.parent)
        found = [
            [p / n for n in vocabularies.FILES if (p / n).is_file()] for p in places
        ]
        return next((paths for paths in found if paths), [])

    def copy_vocabulary(self, folder: pathlib.Path) -> None:
        """Copies the vocabulary, and tells transformers how many ids it has."""
        found = self.vocabulary_files()
        for path in found:
            shutil.copy(path, folder)
        names = [path.name for path in found]
        pieces = [path for path in found if path.name in vocabularies.PIECES]
        if pieces and vocabularies.TOKENIZER_CONFIG not in names:
            config = vocabularies.tokenizer_config(self.vocabulary(), pieces[0])
            files.write_json(folder / vocabularies.TOKENIZER_CONFIG, config)

    def load(self, dtype: str, mesh: Mesh | None = None) -> backbone.Backbone:
        """Loads the backbone; with a mesh, each parameter directly onto its devices."""
        check_dtype(dtype)
        vocabulary, opened = self.vocabulary(), self.checkpoint
        wanted = None if mesh is None else backbone.shardings(self.config, mesh)
        params, digest = opened.params(dtype, wanted), opened.digest()
        return backbone.build(self.name, self.config, params, vocabulary, digest, mesh)

    def abstract(self, dtype: str) -> backbone.Backbone:
        """Gives the backbone with shapes for parameters: enough to compile, not to run.

        Its digest is empty, since that is of the weights.
        """
        shapes = backbone.param_shapes(self.config, dtype)
        return backbone.build(self.name, self.config, shapes, self.vocabulary(), "")


def load_backbone(
    where: str, dtype: str = "float32", cache_dir: str | os.PathLike[str] = CACHE
) -> backbone.Backbone:
    """Loads the backbone of a folder, or "miniature", the small embedded T5.

    A folder is Hugging Face's or T5X's (a checkpoint, or the folder above it).
    `dtype` ("float32" or "bfloat16") is that of parameters and activations; prompts,
    softmax, norms and logits are float32 in any case. `training.placement.load`
    spreads it over several devices. A folder at an address such as
    gs://bucket/t5-base is copied into `cache_dir` once.
    Raises InputError with what is wrong in the folder and what would be right.
    """
    check_dtype(dtype)
    return open_source(where, cache_dir).load(dtype)


def check_dtype(dtype: str) -> None:
    """Raises InputError for a dtype that no backbone can have."""
    if dtype not in DTYPES:
        raise InputError(
            f"the backbone's dtype is {dtype!r}; it should be {' or '.join(DTYPES)}"
        )


def open_source(where: str, cache_dir: str | os.PathLike[str] = CACHE) -> Source:
    """Opens the files of a backbone and checks that config and weights fit."""
    given = files.expand(where)
    # The vocabulary of a T5X checkpoint may lie above it.
    above = t5x.NAME.match(given.name) is not None
    folder = copies.fetched(given, cache_dir, with_siblings=above)
    embedded = sorted(p.name for p in EMBEDDED.glob("*") if p.is_dir())
    if where in embedded:
        folder = EMBEDDED / where
    if not folder.is_dir():
        raise InputError(
            f"the backbone {where!r} is not there: it should be a Hugging Face folder "
            f"(config.json, model.safetensors, vocabulary), a T5X folder "
            f"(checkpoint_<step>, config, vocabulary) or one of the embedded: "
            f"{', '.join(embedded)}"
        )
    folder = pathlib.Path(os.path.abspath(folder))  # Links keep their names.
    is_hugging_face = any(folder.glob("model*.safetensors*"))
    if not is_hugging_face and (found := t5x.find(folder)) is not None:
        # checkpoint_<step> alone would say little in a table.
        name = f"{found.parent.name}-{found.name}"
        opened, folder = t5x.open_checkpoint(found), found
    else:
        name, opened = folder.name, hugging_face.open_checkpoint(folder)
    place = str(folder) if isinstance(given, pathlib.Path) else where
    return Source(name, folder, opened, place)
