"""Which model reference weights are: from an argument, a config.json, keys and shapes, or a name, in this order."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from cosmotok.checkpoint.reference import HALF_KEYS, number_of, patch_of
from cosmotok.config import FSQ_LEVELS, ModelEntry, TokenizerConfig, find_model, list_models
from cosmotok.errors import CheckpointError, UnknownModelError

__all__ = ["Description", "Evidence", "evidence_of", "find_config"]


@dataclass(frozen=True)
class Description:
    """What a config.json beside the weights says."""

    variant: str = ""
    """A published name, or one's own where `fields` has the factors."""
    names: tuple[str, ...] = ()
    """Other texts that may contain a published name."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Values for the fields of a `TokenizerConfig`."""
    halves: frozenset[str] | None = None
    """The halves that the weights are meant to have."""


@dataclass(frozen=True)
class Evidence:
    """What keys and shapes tell; None where they do not."""

    kind: Literal["video", "image"]
    patch: int | None
    levels: tuple[int, ...] | None
    """Empty for continuous latents."""
    factors: tuple[int, int] | None
    """Compression of time and space."""
    encoder_stages: int
    decoder_stages: int
    """0 for a half that is not there."""

    def __str__(self) -> str:
        parts: list[str] = [] if self.levels is None else ["discrete" if self.levels else "continuous"]
        parts.append(self.kind)
        if self.patch:
            parts.append(f"patch {self.patch}")
        if self.factors:
            time, space = self.factors
            parts.append(f"{space}x{space}" if self.kind == "image" else f"{time}x{space}x{space}")
        return ", ".join(parts)


def evidence_of(tensors: Mapping[str, Tensor], levels: tuple[int, ...] | None = None) -> Evidence:
    """What the weights under reference keys tell about themselves.

    Args:
        levels: of the FSQ quantiser, if its buffer is there.

    Raises:
        CheckpointError: where there are no such keys, or the wavelet is an unknown one.
    """
    if not any(key.startswith(HALF_KEYS["encoder"] + HALF_KEYS["decoder"]) for key in tensors):
        raise CheckpointError("holds no weights of a Cosmos tokenizer: expected keys such as encoder.conv_in...")
    kind: Literal["video", "image"] = "video" if any(".conv3d." in key for key in tensors) else "image"
    inner = ".0.conv3d" if kind == "video" else ""
    point = ".conv3d" if kind == "video" else ""

    def channels(key: str, axis: int) -> int | None:
        return tensors[key].shape[axis] if key in tensors and tensors[key].ndim > axis else None

    bands, layer = channels(f"encoder.conv_in{inner}.weight", 1), "encoder.conv_in"
    if bands is None:
        bands, layer = channels(f"decoder.conv_out{inner}.weight", 0), "decoder.conv_out"
    patch = None if bands is None else patch_of(bands, kind, layer)
    latent_channels = channels(f"quant_conv{point}.weight", 0) or channels(f"post_quant_conv{point}.weight", 1)
    if levels is None and latent_channels is not None:
        levels = FSQ_LEVELS if latent_channels == len(FSQ_LEVELS) else ()
    encoder_stages = number_of(tensors, "encoder.down.", f".block.0.conv1{inner}.weight")
    decoder_stages = number_of(tensors, "decoder.up.", f".block.0.conv1{inner}.weight")
    factors = None
    if patch is not None:
        down = halvings(tensors, "encoder.down.{}.downsample", encoder_stages, kind, patch)
        up = halvings(tensors, "decoder.up.{}.upsample", decoder_stages, kind, patch)
        agree = down is None or up is None or down == up  # else some are missing, which will be said by name
        if agree and (resampled := down or up):
            time, space = resampled
            factors = (patch << time if kind == "video" else 1, patch << space)
    return Evidence(kind, patch, levels, factors, encoder_stages, decoder_stages)


def halvings(tensors: Mapping[str, Tensor], stage: str, stages: int, kind: str, patch: int) -> tuple[int, int] | None:
    """How many stages resample (time, space), if the keys tell."""
    if not stages:
        return None

    def number_with(layer: str) -> int:
        names = [f"{stage.format(i)}.{layer}" for i in range(stages)]
        return sum(any(key in tensors for key in (f"{name}.weight", f"{name}.bias")) for name in names)

    if kind == "image":
        return 0, number_with("conv")
    spatial, temporal = ("conv1", "conv2") if "downsample" in stage else ("conv2", "conv1")
    time, space = number_with(f"{temporal}.conv3d"), number_with(f"{spatial}.conv3d")
    # The files of Cosmos 0.1, all of patch 4, hold all layers in each stage but the last, used or not.
    if patch == 4 and stages > 1 and time == space == stages - 1:
        return None
    return time, space


def find_config(
    evidence: Evidence, variant: str | None, description: Description, names: Sequence[str]
) -> TokenizerConfig:
    """The config of the model that these are, but for widths and depths.

    Args:
        variant: what the caller says it is; a published name.
        names: of files, folders and repositories, which may contain a published name.

    Raises:
        CheckpointError: where nothing tells, listing the candidates, or the weights contradict.
    """
    fields = dict(description.fields)
    if evidence.levels:
        fields |= {"levels": evidence.levels, "latent_channels": len(evidence.levels)}
    factors = fields.pop("temporal_factor", None), fields.pop("spatial_factor", None)
    if evidence.kind == "image":
        factors = 1, factors[1]
    described = None if None in factors else factors
    if described and evidence.factors and any(a > b for a, b in zip(evidence.factors, described, strict=True)):
        raise CheckpointError(f"config.json says {described} for time and space, the keys say {evidence.factors}")

    def named(entry: ModelEntry, who: str) -> TokenizerConfig:
        check(entry, evidence, who)
        if described not in (None, (entry.config.temporal_factor, entry.config.spatial_factor)):
            raise CheckpointError(f"{who}, but config.json says {described} for time and space; correct one of them")
        return replace(entry.config, **fields)

    if variant is not None:
        return named(find_model(variant), f"variant={variant}")
    by_name = {entry.name.lower(): entry for entry in PUBLISHED_MODELS}
    if description.variant.lower() in by_name:
        return named(by_name[description.variant.lower()], f"config.json names {description.variant}")
    if description.variant and described:
        return own_config(evidence, description.variant, described, fields)
    for name in (description.variant, *description.names, *names):
        entry = published_in(name)
        if entry is not None:
            return named(entry, f"the name {name!r}")
    evidence = replace(evidence, factors=described or evidence.factors)
    candidates = [entry for entry in PUBLISHED_MODELS if fits(entry.config, evidence)]
    # Files that tell their factors are none of Cosmos 0.1, whose names have no resolution.
    if evidence.factors and evidence.kind == "video":
        candidates = [entry for entry in candidates if "-" in entry.name] or candidates
    if len(candidates) == 1:
        return replace(candidates[0].config, **fields)
    if candidates:
        raise CheckpointError(
            f"may be {' or '.join(entry.name for entry in candidates)}, whose keys and shapes are the same; "
            "pass variant=... (on the command line: --variant)"
        )
    if evidence.factors:
        return own_config(evidence, "", evidence.factors, fields)
    raise CheckpointError(
        f"holds a model ({evidence}) that is none of the published ones, and does not tell its factors; put a "
        "config.json with spatial_compression and temporal_compression beside it"
    )


PUBLISHED_MODELS = [entry for entry in map(find_model, list_models()) if entry.hub]


def published_in(name: str) -> ModelEntry | None:
    """The published model whose name is part of `name`; of several, the longest."""
    text = name.lower().replace("_", "-")
    renamed = re.search(r"cosmos-1\.0-tokenizer-\w+", text)
    if renamed:  # published once more under longer names
        with contextlib.suppress(UnknownModelError):
            return find_model(f"nvidia/{renamed[0]}")
    for entry in sorted(PUBLISHED_MODELS, key=lambda entry: -len(entry.name)):
        if re.search(rf"(?<![a-z0-9]){entry.name.lower()}(?![a-z0-9])", text):
            return entry
    return None


def fits(config: TokenizerConfig, evidence: Evidence) -> bool:
    """Whether nothing speaks against the weights being those of the published `config`."""
    factors = (config.temporal_factor, config.spatial_factor)
    return (
        config.kind == evidence.kind
        and evidence.patch in (None, config.patch)
        and (evidence.levels is None or bool(evidence.levels) == config.is_discrete)
        and evidence.factors in (None, factors)
        and evidence.encoder_stages in (0, len(config.encoder_multipliers))
        and evidence.decoder_stages in (0, len(config.decoder_multipliers))
    )


def check(entry: ModelEntry, evidence: Evidence, who: str) -> None:
    """Raises CheckpointError where keys and shapes contradict that the weights are those of `entry`.

    Too few keys are no contradiction here: whoever needs them names them.
    """
    config = entry.config
    factors = (config.temporal_factor, config.spatial_factor)
    itself = Evidence(config.kind, config.patch, config.levels, factors, 0, 0)
    same = config.kind == evidence.kind and (evidence.levels is None or config.is_discrete == bool(evidence.levels))
    if same and evidence.factors:
        same = all(a <= b for a, b in zip(evidence.factors, factors, strict=True))
    # A model of one's own may have another patch, unless that makes it another published one.
    siblings = [
        other.name
        for other in PUBLISHED_MODELS
        if fits(other.config, replace(itself, patch=evidence.patch)) and evidence.patch not in (None, config.patch)
    ]
    if not same or siblings or not entry.hub:
        instead = f" (perhaps {' or '.join(siblings)})" if siblings else ""
        raise CheckpointError(
            f"{who} ({itself}), but keys and shapes are those of another model ({evidence}); "
            f"pass the variant that they are{instead}, on the command line as --variant"
        )


def own_config(evidence: Evidence, name: str, factors: tuple[int, int], fields: Mapping[str, Any]) -> TokenizerConfig:
    """Of a model that is none of the published ones."""
    default = ("D" if evidence.levels else "C") + ("V" if evidence.kind == "video" else "I") + "-custom"
    stages = fields.get("encoder_multipliers", (1,) * 16)  # for a half that is not there, enough for any factors
    values: dict[str, Any] = {"encoder_multipliers": stages, "decoder_multipliers": stages, **fields}
    time, space = factors
    return TokenizerConfig(
        variant=name or default,
        kind=evidence.kind,
        temporal_factor=time,
        spatial_factor=space,
        patch=evidence.patch or 4,
        **values,
    )
