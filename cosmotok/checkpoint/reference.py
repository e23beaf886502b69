"""The published code's parameter names, as data, and what its tensors tell about the model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count

from torch import Tensor

from cosmotok.checkpoint.fit import fit
from cosmotok.config import FSQ_LEVELS, TokenizerConfig
from cosmotok.errors import CheckpointError

__all__ = [
    "HALF_KEYS",
    "config_from_tensors",
    "fit_reference",
    "is_unused",
    "patch_of",
    "reference_key",
    "to_reference_state_dict",
]

HALF_KEYS = {"encoder": ("encoder.", "quant_conv."), "decoder": ("decoder.", "post_quant_conv.")}
"""Where the published keys of each half begin."""
UNUSED = re.compile(
    r".*\b(un)?patcher(3d)?\..*"  # the wavelet's filters
    r"|(quantizer|inv_quant)\.(quantizer\.)?(_levels|_basis|implicit_codebook)"
    r"|(encoder\.down|decoder\.up)\.\d+\.(down|up)sample\.conv[123]?\.(conv3d\.)?(weight|bias)"
)
"""What published files hold besides parameters in use: buffers, and the resampling of stages that keep the size."""
MAX_WIDTH = 1 << 16

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


def is_unused(key: str) -> bool:
    """Whether published files may hold `key` without a network that uses it."""
    return UNUSED.fullmatch(key) is not None


def fit_reference(
    tensors: Mapping[str, Tensor],
    config: TokenizerConfig,
    source: str,
    *,
    halves: Collection[str] = (),
    is_unused: Callable[[str], bool] = is_unused,
) -> dict[str, str]:
    """Our names of the parameters to the published keys, once `tensors`, by published keys, are known to fit.

    Args:
        halves: that have to be there; none for those of which there is anything.
        is_unused: which other keys are nothing to worry about.

    Raises:
        CheckpointError: naming every key that is missing, unexpected, or of another shape or type.
    """
    return fit(
        tensors,
        config,
        source,
        key=lambda name: reference_key(name, config),
        shape=lambda shape: reference_shape(shape, config),
        is_unused=is_unused,
        halves=halves,
    )


def reference_shape(shape: Sequence[int], config: TokenizerConfig) -> tuple[int, ...]:
    """The published shape of a parameter of ours: 3-D kernels (O, I, T, H, W) of the video or 2-D ones of the image
    network."""
    axes = 5 if config.kind == "video" else 4
    if len(shape) == 4 and axes == 5:  # spatial
        return (*shape[:2], 1, *shape[2:])
    if len(shape) > 1:  # temporal, or a matrix for each position
        return (*shape, *(1,) * (axes - len(shape)))
    return tuple(shape)


def to_reference_state_dict(tensors: Mapping[str, Tensor], config: TokenizerConfig) -> dict[str, Tensor]:
    """Our tensors under the published keys and in the published shapes."""
    return {
        reference_key(name, config): tensor.reshape(reference_shape(tensor.shape, config)).contiguous()
        for name, tensor in tensors.items()
    }


def config_from_tensors(tensors: Mapping[str, Tensor], config: TokenizerConfig) -> TokenizerConfig:
    """`config` with widths, depths and FSQ channels as the tensors have them; factors stay as they are.

    Of a half that is not there, the stages are those of `config`.

    Raises:
        CheckpointError: naming the keys that are needed for this and are not there.
        ConfigError: where they do not make up a tokenizer.
    """
    inner = ".0.conv3d.weight" if config.kind == "video" else ".weight"
    point = ".conv3d.weight" if config.kind == "video" else ".weight"
    halves = [half for half, keys in HALF_KEYS.items() if any(key.startswith(keys) for key in tensors)]

    def shape(key: str) -> tuple[int, ...]:
        if key not in tensors:
            raise CheckpointError(f"weights do not fit {config.variant}: missing {key}")
        found = tuple(tensors[key].shape)
        if len(found) < 2 or not 0 < min(found) <= max(found) <= MAX_WIDTH:
            raise CheckpointError(f"{key} has shape {list(found)}, expected a kernel")
        return found

    def widths(stages: str) -> list[int]:
        found = []
        for i in count():
            key = f"{stages}.{i}.block.0.conv1{inner}"
            if key not in tensors:
                break
            found.append(shape(key)[0])
        if not found:
            raise CheckpointError(f"weights do not fit {config.variant}: missing {stages}.0.block.0.conv1{inner}")
        return found

    def multipliers(stages: str, channels: int) -> tuple[int, ...]:
        found = widths(stages)
        if not channels or any(width % channels or not width for width in found):
            raise CheckpointError(f"{stages}: widths {found} are no multiples of {channels}, the width of conv_in")
        return tuple(width // channels for width in found)

    if halves == ["decoder"]:
        channels = base_width(widths("decoder.up"), config)
        bands, key = shape(f"decoder.conv_out{inner}")[0], "decoder.conv_out"
        z_channels, latent_channels = shape(f"post_quant_conv{point}")[:2]
        blocks = number_of(tensors, "decoder.up.0.block.", f".conv1{inner}") - 1
    else:
        channels, bands = shape(f"encoder.conv_in{inner}")[:2]
        key = "encoder.conv_in"
        latent_channels, z_channels = shape(f"quant_conv{point}")[:2]
        blocks = number_of(tensors, "encoder.down.0.block.", f".conv1{inner}")
    codes = len(config.levels or FSQ_LEVELS)
    if config.is_discrete != (latent_channels == codes) and latent_channels != config.latent_channels:
        raise CheckpointError(
            f"weights do not fit {config.variant}: {'post_' if halves == ['decoder'] else ''}quant_conv{point} has "
            f"{latent_channels} latent channels; expected {codes} for a discrete tokenizer and another number for a "
            "continuous one"
        )
    return replace(
        config,
        channels=channels,
        patch=patch_of(bands, config.kind, key),
        encoder_multipliers=config.encoder_multipliers
        if halves == ["decoder"]
        else multipliers("encoder.down", channels),
        decoder_multipliers=config.decoder_multipliers
        if halves == ["encoder"]
        else multipliers("decoder.up", channels),
        blocks=blocks,
        z_channels=z_channels,
        latent_channels=latent_channels,
    )


def base_width(widths: list[int], config: TokenizerConfig) -> int:
    """The width that the multipliers of the decoder's stages refer to: as in `config`, at whatever scale."""
    channels = widths[0] // config.decoder_multipliers[0]
    if widths == [channels * multiplier for multiplier in config.decoder_multipliers]:
        return channels
    return math.gcd(*widths)


def patch_of(bands: int, kind: str, layer: str) -> int:
    """Patch of the wavelet from its number of bands, the channels of `layer`."""
    for patch in (2, 4):
        if bands == 3 * patch ** (3 if kind == "video" else 2):
            return patch
    raise CheckpointError(f"{layer} has {bands} channels: expected 3 p^3 (video) or 3 p^2 (image), p = 2 or 4")


def number_of(tensors: Iterable[str], prefix: str, suffix: str) -> int:
    """How many consecutive numbers from 0 on stand between prefix and suffix in the keys."""
    keys = set(tensors)
    return next(i for i in count() if f"{prefix}{i}{suffix}" not in keys)
