"""Folders of diffusers' `AutoencoderKLCosmos`, read and written: the same network under other parameter names.

```python
checkpoint = read_diffusers(Path("Cosmos-1.0-Diffusion-7B-Text2World"))   # a pipeline, or its vae/ alone
write_diffusers(tokenizer.to_checkpoint(), Path("vae"))                   # AutoencoderKLCosmos.from_pretrained("vae")
```

`cosmotok.checkpoint.diffusers` says what does not go over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch

from cosmotok.checkpoint.contents import Checkpoint
from cosmotok.checkpoint.diffusers import (
    CLASS,
    config_from_diffusers,
    config_to_diffusers,
    fit_diffusers,
    obstacles,
    tensors_to_diffusers,
)
from cosmotok.checkpoint.files import CONFIG_FILE, read_json
from cosmotok.checkpoint.fit import refuse, shapes_of
from cosmotok.checkpoint.native import WEIGHTS_FILE as NATIVE_WEIGHTS_FILE
from cosmotok.checkpoint.safetensors_file import SafetensorsFile
from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError, ConfigError
from cosmotok.writing import output_folder, write_file

__all__ = ["is_diffusers_folder", "read_diffusers", "write_diffusers"]

WEIGHTS = "diffusion_pytorch_model"
INDEX = re.compile(rf"{WEIGHTS}\.safetensors\.index(\.\w+)?\.json")
SHARD = re.compile(r".*-\d{5}-of-\d{5}(\.\w+)?\.safetensors")


# Reading --------------------------------------------------------------------------------------------------------------


def is_diffusers_folder(folder: Path) -> bool:
    """Whether diffusers wrote the model in `folder`, or the one in its `vae/`, whatever class it is of."""
    return config_path_in(folder) is not None


def read_diffusers(path: Path, values: bool = True) -> Checkpoint:
    """The autoencoder that diffusers' `save_pretrained` wrote; tensors keep their dtype.

    Args:
        path: its folder; a pipeline's folder with `vae/`; or one weights file, where there are several variants.
        values: False for the shapes of the weights alone.

    Raises:
        CheckpointError: where a file is missing, damaged or another class's, where the config is none that our network
            computes, or where the weights do not fit it, naming the tensors.
    """
    weights, config_path = None, config_path_in(path)
    if path.is_file():
        weights, config_path = path, config_path_in(path.parent)
        if SHARD.fullmatch(path.name):
            raise CheckpointError(f"{path}: is one of several parts of a model; give the folder {path.parent}")
    if config_path is None:
        raise CheckpointError(f"{path}: no {CONFIG_FILE} of diffusers there; expected an {CLASS}, also as vae/")
    facts = read_json(config_path)
    if facts["_class_name"] != CLASS:
        raise CheckpointError(f"{config_path}: is of class {facts['_class_name']}; expected {CLASS}")
    try:
        config = config_from_diffusers(facts)
    except ConfigError as error:
        raise CheckpointError(f"{config_path}: {error}") from None
    weights = weights or find_weights(config_path.parent)
    if INDEX.fullmatch(weights.name):
        files = shards_of(weights)
    else:
        files = [SafetensorsFile(weights)]
        config = with_our_facts(config, files[0].metadata)
    tensors = {key: tensor for file in files for key, tensor in file.tensors.items()}
    keys, shapes = fit_diffusers(tensors, config, str(weights)), shapes_of(config)
    if values:
        tensors = {key: tensor for file in files for key, tensor in file.read(file.tensors).items()}
    native = {name: tensors[key].reshape(shapes[name]) for name, key in keys.items()}
    return Checkpoint(config, native, str(weights))


def config_path_in(folder: Path) -> Path | None:
    """The `config.json` of a diffusers model in `folder` or its `vae/`."""
    for path in (folder / CONFIG_FILE, folder / "vae" / CONFIG_FILE):
        try:
            if "_class_name" in read_json(path):
                return path
        except CheckpointError:
            continue
    return None


def find_weights(folder: Path) -> Path:
    """The file of weights in `folder`, or the index of its parts; full precision before a variant such as fp16."""
    names = {path.name for path in folder.iterdir()}
    for plain in (f"{WEIGHTS}.safetensors.index.json", f"{WEIGHTS}.safetensors"):
        if plain in names:
            return folder / plain
    variants = sorted(name for name in names if INDEX.fullmatch(name))
    variants += sorted(n for n in names if re.fullmatch(rf"{WEIGHTS}\.\w+\.safetensors", n) and not SHARD.fullmatch(n))
    if len(variants) == 1:
        return folder / variants[0]
    if variants:
        raise CheckpointError(f"{folder}: holds {', '.join(variants)}; give the path of the one to read")
    if any(name.startswith(WEIGHTS) and name.endswith(".bin") for name in names):
        raise CheckpointError(
            f"{folder}: holds pickled weights, which are not read; "
            f"save them as safetensors first: {CLASS}.from_pretrained(folder).save_pretrained(folder)"
        )
    raise CheckpointError(f"{folder}: no {WEIGHTS}.safetensors; the model's weights are missing")


def shards_of(index: Path) -> list[SafetensorsFile]:
    """The files of a model that is in several, which hold what its index says."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index}: expected weight_map, an object of tensor names to file names")
    files = []
    for name in sorted(set(places.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index}: {name!r} is no .safetensors file beside it")
        file = SafetensorsFile(index.parent / name)
        strays = [f"{key} in {name}" for key in file.tensors if places.get(key) != name]
        lost = [f"no {key} in {name}" for key, place in places.items() if place == name and key not in file.tensors]
        refuse(strays + lost, f"{index}: does not match its files")
        files.append(file)
    return files


def with_our_facts(config: TokenizerConfig, metadata: Mapping[str, str]) -> TokenizerConfig:
    """`config` with the name and chunk schedule that `write_diffusers` noted, as diffusers has no place for them."""
    chunk = metadata.get("chunk", "")
    return replace(
        config,
        variant=metadata.get("variant", config.variant),
        chunk=int(chunk) if re.fullmatch(r"[1-9]\d{0,5}", chunk) else config.chunk,
    )


# Writing --------------------------------------------------------------------------------------------------------------


def write_diffusers(checkpoint: Checkpoint, folder: Path, changes: Mapping[str, Any] | None = None) -> None:
    """Writes a folder for `AutoencoderKLCosmos.from_pretrained`; tensors keep their values and dtype.

    `changes` are values of diffusers' config that ours does not hold, such as statistics of every latent frame.

    Name and chunk schedule go into the metadata of the weights, so that `read_diffusers` gives back the same config.

    Raises:
        CheckpointError: where diffusers cannot express the model, saying why, or the folder holds another model, which
            would be read instead.
        MediaError: where the folder cannot be written.
    """
    config = checkpoint.config
    reasons = [reason for reason, holds in obstacles(config, checkpoint.halves).items() if holds]
    if reasons:
        raise CheckpointError(
            f"{checkpoint.source}: diffusers' {CLASS} has no such model ({', '.join(reasons)}); "
            "keep it in the native format"
        )
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name == NATIVE_WEIGHTS_FILE or INDEX.fullmatch(path.name):
            raise CheckpointError(f"{folder}: holds another model ({path.name}); choose an empty folder")
    tensors = tensors_to_diffusers(checkpoint)
    metadata = {"format": "pt", "variant": config.variant, "chunk": str(config.chunk)}
    with output_folder(folder) as place:
        write_file(place / f"{WEIGHTS}.safetensors", safetensors.torch.save(tensors, metadata))
        write_file(place / CONFIG_FILE, json.dumps(config_to_diffusers(config) | dict(changes or {}), indent=2) + "\n")
