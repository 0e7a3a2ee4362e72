"""Named architectures with their published figures, and the one resolver of every ARCH argument.

A preset is a YAML file in ``search_spaces/presets``; a user's own file has the same form.  ``load_preset`` reads one
file and imports nothing heavy.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from archsearch.arch.codec import SCHEMA, FieldError, decode, from_dict
from archsearch.arch.compact import Expansion
from archsearch.arch.diffusers_config import from_diffusers
from archsearch.arch.other_configs import (
    DECODER_CLASS,
    TEXT_MODELS,
    decoder_from_diffusers,
    text_encoder_from_transformers,
)
from archsearch.arch.values import Architecture, Preset, Published
from archsearch.errors import ArchError, unknown_name
from archsearch.files import Document, load_yaml
from archsearch.resources import data_folder

OWN_CLASSES = ("UNetModel", "DecoderModel", "TextEncoderModel")  # of archsearch.models, as save_pretrained names them
PRESET_SCHEMA = "archsearch.preset/1"
_FORMS = ("diffusers", "unet", "decoder", "text_encoder")
_KEYS = ("schema", "name", "title", "latent", "exact", "notes", "published", "blocks", *_FORMS)


@cache
def preset_names() -> tuple[str, ...]:
    """Names of the shipped presets, sorted."""
    return tuple(sorted(path.stem for path in (data_folder("search_spaces") / "presets").glob("*.yaml")))


@cache
def load_preset(name: str) -> Preset:
    """A shipped preset by its name.

    Raises:
        ArchError: no such preset; near misses first.
    """
    if name not in preset_names():
        raise ArchError(unknown_name("preset", name, preset_names()))
    return read_preset(load_yaml(data_folder("search_spaces") / "presets" / f"{name}.yaml", ArchError))


def resolve(ref: str) -> Preset:
    """The architecture behind a preset's name, an architecture file, or a diffusers folder or ``config.json``.

    Raises:
        ArchError: nothing of that name (with near misses), or a file that is malformed or outside the vocabulary.
    """
    if ref in preset_names():
        return load_preset(ref)
    path = Path(ref)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as problem:
        raise ArchError("not a usable name or path", got=ref) from problem
    if is_folder:
        return _from_folder(path)
    if exists:
        return _from_file(path)
    if path.suffix in (".yaml", ".yml", ".json") or "/" in ref:
        raise ArchError("no such file", where=ref)
    raise ArchError(
        unknown_name("architecture", ref, preset_names()),
        next_step="or give a file, or a diffusers folder",
    )


def _from_folder(folder: Path) -> Preset:
    for inner in ("config.json", "unet/config.json"):
        if (folder / inner).is_file():
            return _from_file(folder / inner)
    raise ArchError("no diffusers network in this folder", where=str(folder), allowed="config.json, unet/config.json")


def _from_file(path: Path) -> Preset:
    document = load_yaml(path, ArchError)
    data = document.data
    if any(form in data for form in _FORMS) or data.get("schema") == PRESET_SCHEMA:
        return read_preset(document)
    name = path.parent.name if path.name == "config.json" and path.parent.name else path.stem
    if isinstance(data.get("arch"), dict):  # what `archs show --json` and `profile --json` print
        arch = from_dict(data["arch"], lambda inner: document.where(("arch", *inner)))
        return Preset(name=name, title=name, architecture=arch, source=str(path))
    if "kind" in data or data.get("schema") == SCHEMA:
        return Preset(name=name, title=name, architecture=from_dict(data, document.where), source=str(path))
    if "_class_name" in data or "block_out_channels" in data or data.get("model_type") in TEXT_MODELS:
        arch = _from_config(data, document, ())
        return Preset(name=name, title=name, architecture=arch, source=str(path))
    raise ArchError(
        "not an architecture",
        where=str(path),
        got=f"keys {', '.join(map(str, list(data)[:8])) or 'none'}",
        allowed=f"a preset ({', '.join(_FORMS)}), a value (kind), or a diffusers config (_class_name)",
    )


def _from_config(config: dict[str, Any], document: Document, root: tuple[str, ...]) -> Architecture:
    def where(path: Any) -> str:
        return document.where((*root, *path))

    if config.get("_class_name") in OWN_CLASSES:
        return from_dict(config.get("architecture"), lambda path: where(("architecture", *path)))
    if config.get("_class_name") == DECODER_CLASS:
        return decoder_from_diffusers(config, where)
    if config.get("model_type") in TEXT_MODELS:
        return text_encoder_from_transformers(config, where)
    return from_diffusers(config, where)


def read_preset(document: Document) -> Preset:
    """A preset from its file.

    Raises:
        ArchError: naming file, line and key.
    """
    data = document.data
    try:
        for key in data:
            if key not in _KEYS:
                raise FieldError(unknown_name("key", key, _KEYS), (key,))
        if data.get("schema") != PRESET_SCHEMA:
            raise FieldError("another schema", ("schema",), data.get("schema", "none"), PRESET_SCHEMA)
        forms = [form for form in _FORMS if form in data]
        if len(forms) != 1:
            raise FieldError("exactly one architecture a file", (), ", ".join(forms) or "none", ", ".join(_FORMS))
        arch = _architecture(document, forms[0])
        name = data.get("name", document.path.stem)
        for key, value in (("name", name), ("title", data.get("title", name)), ("notes", data.get("notes", ""))):
            if not isinstance(value, str):
                raise FieldError("must be a string", (key,), repr(value))
        exact = data.get("exact", True)
        if not isinstance(exact, bool):
            raise FieldError("must be a boolean", ("exact",), repr(exact))
    except FieldError as problem:
        raise problem.located(document.where) from None
    return Preset(
        name=name,
        title=data.get("title", name),
        architecture=arch,
        published=decode(tuple[Published, ...], data.get("published", []), document.where, ("published",)),
        notes=" ".join(data.get("notes", "").split()),
        latent=_latent(document),
        exact=exact,
        source=str(document.path),
    )


def _architecture(document: Document, form: str) -> Architecture:
    body = document.data[form]
    if form == "diffusers":
        if not isinstance(body, dict):
            raise FieldError("must be a mapping", (form,), repr(body))
        return _from_config(body, document, (form,))
    if form == "text_encoder":
        if not isinstance(body, dict):
            raise FieldError("must be a mapping", (form,), repr(body))
        return from_dict({"kind": form, **body}, lambda path: document.where((form, *path)))
    expansion = Expansion(body, document.data.get("blocks"), (form,))
    plain = expansion.unet() if form == "unet" else expansion.decoder()
    return from_dict(plain, expansion.locate(document.where))


def _latent(document: Document) -> tuple[int, int]:
    value = document.data.get("latent", [64, 64])
    if (
        not isinstance(value, list)
        or len(value) != 2
        or any(isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= 4096 for side in value)
    ):
        raise FieldError("must be [height, width]", ("latent",), repr(value), "1 to 4096 each").located(document.where)
    return value[0], value[1]
