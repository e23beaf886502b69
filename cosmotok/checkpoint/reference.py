"""The published code's parameter names, as data, and what its tensors tell about the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count

from torch import Tensor

from cosmotok.config import FSQ_LEVELS, TokenizerConfig
from cosmotok.errors import CheckpointError

__all__ = ["config_from_tensors", "reference_key", "to_native_state_dict"]

# Our name of a parameter to the reference's, applied in this order. Rules of the first table hold for both
# networks; the published video network wraps each convolution as `.conv3d` and each norm as `.norm`.
RULES = [
    (r"\.middle\.attention\.0\.", r".mid.attn_1."),
    (r"\.middle\.", r".mid."),
    (r"^encoder\.stages\.(\d+)\.resample\.conv\.", r"encoder.down.\1.downsample.conv."),
    (r"^decoder\.stages\.(\d+)\.resample\.conv\.", r"decoder.up.\1.upsample.conv."),
    (r"^encoder\.stages\.(\d+)\.blocks\.", r"encoder.down.\1.block."),
    (r"^decoder\.stages\.(\d+)\.blocks\.", r"decoder.up.\1.block."),
    (r"\.shortcut\.", r".nin_shortcut."),
]
VIDEO_RULES = [
    (r"\.middle\.attention\.(\d)\.", r".mid.attn_1.\1."),
    (r"^encoder\.stages\.(\d+)\.resample\.spatial\.", r"encoder.down.\1.downsample.conv1.conv3d."),
    (r"^encoder\.stages\.(\d+)\.resample\.temporal\.", r"encoder.down.\1.downsample.conv2.conv3d."),
    (r"^encoder\.stages\.(\d+)\.resample\.mix\.", r"encoder.down.\1.downsample.conv3.conv3d."),
    (r"^decoder\.stages\.(\d+)\.resample\.temporal\.", r"decoder.up.\1.upsample.conv1.conv3d."),
    (r"^decoder\.stages\.(\d+)\.resample\.spatial\.", r"decoder.up.\1.upsample.conv2.conv3d."),
    (r"^decoder\.stages\.(\d+)\.resample\.mix\.", r"decoder.up.\1.upsample.conv3.conv3d."),
    (r"\.spatial\.", r".0.conv3d."),
    (r"\.temporal\.", r".1.conv3d."),
    (r"\.(norm\w*)\.(weight|bias)$", r".\1.norm.\2"),
    (r"(\.q|\.k|\.v|\.proj_out|\.shortcut|quant_conv)\.(weight|bias)$", r"\1.conv3d.\2"),
]


def reference_key(name: str, config: TokenizerConfig) -> str:
    """The published code's name for our parameter `name`, e.g. `encoder.mid.block_1.conv1.0.conv3d.weight`."""
    if name.startswith("decoder.stages."):  # the reference counts its decoder stages from the output
        run_order = int(name.split(".")[2])
        stage = len(config.decoder_multipliers) - 1 - run_order
        name = name.replace(f"stages.{run_order}.", f"stages.{stage}.", 1)
    for pattern, replacement in (VIDEO_RULES if config.kind == "video" else []) + RULES:
        name = re.sub(pattern, replacement, name)
    return name


def to_native_state_dict(
    tensors: Mapping[str, Tensor], config: TokenizerConfig, native: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Reference tensors under our names and in our shapes; what the network does not use is left out.

    Args:
        native: the network's own state dict, for names and shapes.

    Raises:
        CheckpointError: naming every missing key, and every key of another shape.
    """
    found, problems = {}, []
    for name, expected in native.items():
        key = reference_key(name, config)
        if key not in tensors:
            problems.append(f"missing {key}")
            continue
        tensor = tensors[key]
        # A factorized kernel holds axes of length 1 that ours does not have.
        if drop_unit_axes(tensor.shape) != drop_unit_axes(expected.shape):
            problems.append(f"{key} has shape {list(tensor.shape)}, expected {list(expected.shape)} (axes of 1 aside)")
            continue
        found[name] = tensor.reshape(expected.shape)
    if problems:
        raise CheckpointError(f"weights do not fit {config.variant}: " + "; ".join(problems))
    return found


def config_from_tensors(tensors: Mapping[str, Tensor], config: TokenizerConfig) -> TokenizerConfig:
    """`config` with widths, depths and FSQ channels as the tensors have them; factors stay as they are.

    Raises:
        CheckpointError: naming the keys that are needed for this and are not there.
    """
    inner = ".0.conv3d.weight" if config.kind == "video" else ".weight"
    point = ".conv3d.weight" if config.kind == "video" else ".weight"

    def shape(key: str) -> tuple[int, ...]:
        if key not in tensors:
            raise CheckpointError(f"weights do not fit {config.variant}: missing {key}")
        return tuple(tensors[key].shape)

    def multipliers(stages: str) -> tuple[int, ...]:
        widths = []
        for i in count():
            key = f"{stages}.{i}.block.0.conv1{inner}"
            if key not in tensors:
                break
            widths.append(shape(key)[0])
        if not widths:
            raise CheckpointError(f"weights do not fit {config.variant}: missing {stages}.0.block.0.conv1{inner}")
        if any(width % channels for width in widths):
            raise CheckpointError(f"{stages}: widths {widths} are no multiples of {channels}, the width of conv_in")
        return tuple(width // channels for width in widths)

    channels = shape(f"encoder.conv_in{inner}")[0]
    bands = shape(f"encoder.conv_in{inner}")[1]
    latent_channels = shape(f"quant_conv{point}")[0]
    if config.is_discrete != (latent_channels == len(FSQ_LEVELS)):
        raise CheckpointError(
            f"weights do not fit {config.variant}: quant_conv{point} makes {latent_channels} latent channels; "
            f"expected {len(FSQ_LEVELS)} for a discrete tokenizer and another number for a continuous one"
        )
    return replace(
        config,
        channels=channels,
        patch=patch_of(bands, config),
        encoder_multipliers=multipliers("encoder.down"),
        decoder_multipliers=multipliers("decoder.up"),
        blocks=number_of(tensors, "encoder.down.0.block.", f".conv1{inner}"),
        z_channels=shape(f"encoder.conv_out{inner}")[0],
        latent_channels=latent_channels,
    )


def patch_of(bands: int, config: TokenizerConfig) -> int:
    """Patch of the wavelet from the number of channels that `conv_in` takes."""
    for patch in (2, 4):
        if bands == 3 * patch ** (3 if config.kind == "video" else 2):
            return patch
    raise CheckpointError(
        f"encoder.conv_in takes {bands} channels: expected 3 p^3 (video) or 3 p^2 (image), p = 2 or 4"
    )


def number_of(tensors: Iterable[str], prefix: str, suffix: str) -> int:
    """How many consecutive numbers from 0 on stand between prefix and suffix in the keys."""
    keys = set(tensors)
    return next(i for i in count() if f"{prefix}{i}{suffix}" not in keys)


def drop_unit_axes(shape: Iterable[int]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
