"""The files of the published code: reads its `.jit` and `.pt`, whole or one half, and writes `model.pt`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cosmotok.checkpoint.archive import read_tensors
from cosmotok.checkpoint.contents import Checkpoint
from cosmotok.checkpoint.files import CONFIG_FILE
from cosmotok.checkpoint.fit import refuse, shapes_of
from cosmotok.checkpoint.reference import (
    HALF_KEYS,
    config_from_tensors,
    fit_reference,
    is_unused,
    to_reference_state_dict,
)
from cosmotok.checkpoint.variant import Description, evidence_of, find_config
from cosmotok.config import TokenizerConfig, shown
from cosmotok.errors import CheckpointError, ConfigError
from cosmotok.foreign import read_json
from cosmotok.network import HALVES
from cosmotok.writing import buffered, output_file, output_folder, write_file

__all__ = ["Weights", "read_reference", "write_reference"]

FROZEN = "no tensors go by names (a frozen TorchScript file keeps none; take the one before freezing)"
MODEL_FILE = "model.pt"
HALF_FILES = ("encoder.jit", "decoder.jit")
WHOLE_FILES = re.compile(r"autoencoder\.jit|model\.pt|iter_\d+\.pt")
"""Where one half missing is no choice, but a defect."""

Weights = Literal["auto", "plain", "averaged"]
KEY = re.compile(
    r"(?P<wrapper>((?:model|state_dict|network|net|module|ema|model_ema|ema_model)[.-])*)"
    r"(?P<key>(encoder|decoder|quant_conv|post_quant_conv|quantizer|inv_quant)[.-].+)"
)
"""A key, as training checkpoints wrap it: `model.network.encoder...`, or averaged `model.ema.network-encoder-...`."""
LEVELS = ("quantizer._levels", "inv_quant.quantizer._levels", "inv_quant._levels")
"""Buffers with the levels of FSQ."""
AVERAGE = re.compile(r"(.*\.)?(ema|model_ema|ema_model)\.")


def read_reference(
    path: Path,
    variant: str | None = None,
    names: Sequence[str] = (),
    weights: Weights = "auto",
    values: bool = True,
) -> Checkpoint:
    """The tokenizer in files of the published code, or in one half's file alone. Nothing in them is run.

    Args:
        path: a folder (its encoder.jit and decoder.jit, else autoencoder.jit, else model.pt, else the newest
            iter_*.pt, else its only .jit or .pt), or one such file.
        variant: the published name of what it is, where the files do not tell.
        names: more names that may tell, such as that of a repository, besides those of file and folder.
        weights: of a training checkpoint, the plain ones or their running average; "auto" prefers the average.
        values: False for the shapes of the weights alone.

    Raises:
        CheckpointError: for files that are missing, damaged or unsafe, a variant that is not to be found or is
            contradicted, and naming every tensor that is missing, unknown or misshapen.
    """
    files = files_in(path) if path.is_dir() else [path]
    folder, source = files[0].parent, str(path)
    shapes: dict[str, Tensor] = {}
    for file in files:
        shapes |= read_network(file, weights, values=False)
    try:
        description = read_description(folder / CONFIG_FILE)
        config = config_of(shapes, variant, description, [*names_of(files[0]), *names])
        check_halves(shapes, files, description)
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{source}: {error}") from None
    keys, native = fit_reference(shapes, config, source), shapes_of(config)
    tensors = shapes
    if values:
        tensors = {}
        for file in files:
            for key, tensor in read_network(file, weights).items():
                if key in tensors and not torch.equal(tensors[key], tensor):
                    raise CheckpointError(f"{folder}: {' and '.join(f.name for f in files)} differ in {key}")
                tensors[key] = tensor
    return Checkpoint(config, {name: tensors[key].reshape(native[name]) for name, key in keys.items()}, source)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that together are the model; see `read_reference`."""
    halves = [folder / name for name in HALF_FILES if (folder / name).exists()]
    if len(halves) == 2:
        return halves
    for name in ("autoencoder.jit", MODEL_FILE):
        if (folder / name).exists():
            return [folder / name]
    iterations = [path for path in folder.glob("iter_*.pt") if WHOLE_FILES.fullmatch(path.name)]
    if iterations:
        return [max(iterations, key=lambda path: int(path.stem.removeprefix("iter_")))]
    others = halves or sorted(path for path in folder.iterdir() if path.suffix in (".jit", ".pt", ".pth", ".ckpt"))
    if len(others) == 1:
        return others
    found = f"found {', '.join(path.name for path in others)}: pass one of them" if others else "found none"
    raise CheckpointError(
        f"{folder}: expected encoder.jit and decoder.jit, autoencoder.jit, model.pt or iter_*.pt; {found}"
    )


def names_of(file: Path) -> list[str]:
    """What the variant may be read from: the file, its folder, the repository where it lies in the Hub's cache."""
    folder = file.absolute().parent
    return [file.stem, folder.name, *(part for part in folder.parts if part.startswith("models--"))]


def read_network(file: Path, weights: Weights, values: bool = True) -> dict[str, Tensor]:
    """The network's tensors in one file, under plain reference keys; without `values`, all but FSQ's levels on meta.

    Raises:
        CheckpointError: besides all that `read_tensors` raises, for tensors that no Cosmos network has.
    """
    chosen: dict[str, str] = {}

    def select(names: list[str]) -> list[str]:
        chosen.update(network_keys(names, weights))
        return list(chosen)

    tensors = read_tensors(file, select, lambda name: values or chosen[name] in LEVELS)
    return {chosen[name]: tensor for name, tensor in tensors.items()}


def network_keys(names: Sequence[str], weights: Weights) -> dict[str, str]:
    """Names in the file of the network's tensors to their reference keys, of the plain or of the averaged weights."""
    found: dict[bool, dict[str, str]] = {False: {}, True: {}}
    wrappers: dict[bool, set[str]] = {False: set(), True: set()}
    strangers = []
    for name in names:
        # torch.compile puts `_orig_mod` in between.
        match = KEY.fullmatch(re.sub(r"\b_orig_mod[.-]", "", name))
        if match is None:
            strangers.append(name)
            continue
        averaged = "ema" in re.split(r"[.\-_]", match["wrapper"])
        key = match["key"].replace("-", ".") if averaged else match["key"]
        if key in found[averaged].values():
            raise CheckpointError(f"holds {key} more than once, last as {name}")
        found[averaged][name] = key
        wrappers[averaged].add(match["wrapper"])
    average = bool(found[True]) if weights == "auto" else weights == "averaged"
    if not found[average]:
        if average:
            raise CheckpointError("holds no averaged weights (keys such as ema.network-...); take the plain ones")
        what = f"expected keys such as encoder.conv_in..., got {strangers[0][:80]!a}" if strangers else FROZEN
        raise CheckpointError(f"holds no weights of a Cosmos tokenizer: {what}")
    # What lies beside the network, such as losses and optimizers, is nothing to worry about.
    strangers = [name for name in strangers if any(name.startswith(wrapper) for wrapper in wrappers[average])]
    strangers = [name for name in strangers if not is_unused(name) and not AVERAGE.match(name)]
    refuse(strangers, "holds tensors that no Cosmos tokenizer has")
    return found[average]


def config_of(
    tensors: Mapping[str, Tensor], variant: str | None, description: Description, names: Sequence[str]
) -> TokenizerConfig:
    levels = description.fields.get("levels")
    for key in LEVELS:
        if key in tensors:
            levels = tuple(tensors[key].flatten().to(torch.int64).tolist())
    config = find_config(evidence_of(tensors, levels), variant, description, names)
    return config_from_tensors(tensors, config)


def halves_in(tensors: Mapping[str, Tensor]) -> set[str]:
    return {half for half, keys in HALF_KEYS.items() if any(key.startswith(keys) for key in tensors)}


def check_halves(tensors: Mapping[str, Tensor], files: Sequence[Path], description: Description) -> None:
    """Raises CheckpointError where a half is missing that should be there."""
    expected = set(HALVES) if len(files) == 2 or WHOLE_FILES.fullmatch(files[0].name) else set()
    for half in HALVES:
        if files[0].name == f"{half}.jit":
            expected.add(half)
    if description.halves is not None:
        expected = set(description.halves)
    missing = sorted(expected - halves_in(tensors))
    if missing:
        raise CheckpointError(f"the whole {missing[0]} is missing; fetch or copy {files[0].name} again")


FIELDS = {
    "spatial_compression": "spatial_factor",
    "temporal_compression": "temporal_factor",
    "legacy_mode": "legacy_mode",
    "levels": "levels",
    "latent_channels": "latent_channels",
    "channels": "channels",
    "channels_mult": "encoder_multipliers",
    "decoder_channels_mult": "decoder_multipliers",
    "chunk": "chunk",
    "latents_mean": "latents_mean",
    "latents_std": "latents_std",
}
"""Keys of a reference config.json, as far as a tokenizer depends on them, to fields of ours. The last five but one
are our own additions."""


def read_description(path: Path) -> Description:
    """What a config.json says; nothing, if it is not there or speaks of other things.

    Raises:
        CheckpointError: for one that is no JSON, or with values of wrong types.
    """
    try:
        values = read_json(path)
    except FileNotFoundError:
        return Description()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} beside it is not readable JSON ({error}); repair or remove it") from None
    if not isinstance(values, dict):
        return Description()
    defaults = TokenizerConfig()
    fields: dict[str, Any] = {}
    for key, name in FIELDS.items():
        if values.get(key) is None:
            continue
        value, default = values[key], getattr(defaults, name)
        value = tuple(value) if isinstance(value, list) else value
        if not isinstance(value, type(default)) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise CheckpointError(f"{path.name} beside it has {key}={shown(value)}: expected {type(default).__name__}")
        fields[name] = value
    names = tuple(values[key] for key in ("_name_or_path", "name") if isinstance(values.get(key), str))
    halves = values.get("halves")
    return Description(
        variant=values["variant"] if isinstance(values.get("variant"), str) else "",
        names=names,
        fields=fields,
        halves=frozenset(map(str, halves)) if isinstance(halves, list) else None,
    )


def write_reference(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes `model.pt`, a plain state dict under the published keys, and `config.json` with the published settings.

    No `.jit` files: they hold the published network's code, not ours.

    Raises:
        CheckpointError: for a model that the published network cannot express.
        MediaError: where the folder cannot be written.
    """
    config = checkpoint.config
    if config.linear_shortcut:
        raise CheckpointError(
            f"{checkpoint.source}: {config.variant} has a linear shortcut, which the published network lacks; "
            "keep it in the native format"
        )
    tensors = {name: tensor.detach().cpu() for name, tensor in checkpoint.tensors.items()}
    with output_folder(folder) as place:
        with output_file(place / MODEL_FILE) as file, buffered(file) as whole:
            torch.save(to_reference_state_dict(tensors, config), whole)
        text = json.dumps(published_settings(config, checkpoint.halves), indent=2)
        write_file(place / CONFIG_FILE, text + "\n")


def published_settings(config: TokenizerConfig, halves: frozenset[str]) -> dict[str, Any]:
    """The settings that the published constructors take, and what else makes up our config."""
    video = config.kind == "video"
    settings: dict[str, Any] = {
        "variant": config.variant,
        "name": ("D" if config.is_discrete else "C") + ("V" if video else "I"),
        "encoder": "FACTORIZED" if video else "Default",
        "decoder": "FACTORIZED" if video else "Default",
        "in_channels": 3,
        "out_channels": 3,
        "channels": config.channels,
        "channels_mult": list(config.encoder_multipliers),
        "num_res_blocks": config.blocks,
        "attn_resolutions": [],
        "resolution": 1024,
        "dropout": 0.0,
        "patch_size": config.patch,
        "patch_method": "haar",
        "spatial_compression": config.spatial_factor,
        "z_channels": config.z_channels,
        "z_factor": 1,
        "latent_channels": config.latent_channels,
    }
    if video:
        settings |= {"temporal_compression": config.temporal_factor, "legacy_mode": config.legacy_mode, "num_groups": 1}
    if config.is_discrete:
        settings |= {"quantizer": "FSQ", "levels": list(config.levels), "embedding_dim": config.latent_channels}
    else:
        settings |= {"formulation": "AE", "levels": []}
    return settings | {
        "decoder_channels_mult": list(config.decoder_multipliers),
        "chunk": config.chunk,
        "latents_mean": list(config.latents_mean),
        "latents_std": list(config.latents_std),
        "halves": sorted(halves),
    }
