"""What a tokenizer is: `TokenizerConfig`, and the registry of all models known by name."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from cosmotok.errors import ConfigError, UnknownModelError
from cosmotok.foreign import one_line, plain_text
from cosmotok.spec import TokenizerSpec

__all__ = ["ModelEntry", "TokenizerConfig", "bundled_models", "find_model", "list_models", "shown"]

FSQ_LEVELS = (8, 8, 8, 5, 5, 5)
CONFIG_VERSION = 1

LIMITS = {"channels": 2**16, "blocks": 2**10, "z_channels": 2**16, "latent_channels": 2**16, "chunk": 2**16}
"""The largest values of a config: far beyond any use, and small enough that no number overflows."""
STAGES, WIDEST = 32, 2**10
"""Most stages of a network, and their largest multiplier; no factor is larger than the latter either."""
LARGEST = 1e30
"""Of statistics of latents."""


@dataclass(frozen=True)
class TokenizerConfig:
    """Everything that fixes a tokenizer but its weights (paper section 3.1; defaults as published).

    Raises:
        ConfigError: where values do not fit together.
    """

    variant: str = "CV8x8x8-720p"
    """Name, for people and for token files."""
    kind: Literal["video", "image"] = "video"
    """Which network. An image tokenizer treats the frames of a video one by one."""
    spatial_factor: int = 8
    """Pixels per latent position, in height and in width."""
    temporal_factor: int = 8
    """Frames per latent frame after the first, which always stands for one frame. 1 for image tokenizers."""
    levels: tuple[int, ...] = ()
    """Of the FSQ quantiser; empty for continuous latents."""
    patch: int = 4
    """Down-sampling of the Haar wavelet: 2 or 4."""
    channels: int = 128
    encoder_multipliers: tuple[int, ...] = (2, 4, 4)
    decoder_multipliers: tuple[int, ...] = (2, 4, 4)
    blocks: int = 2
    """Residual blocks per encoder stage; the decoder has one more."""
    z_channels: int = 16
    """Width at the encoder's end, before the 1x1x1 convolution to the latents."""
    latent_channels: int = 16
    legacy_mode: bool = False
    """Whether the decoder undoes time from its first stage on, as the oldest checkpoints do."""
    linear_shortcut: bool = False
    """A learned linear path around encoder and decoder; off in every published model."""
    chunk: int = 0
    """Latent frames per step when a clip is cut up, after the first, which is a step of its own. Part of the
    config, so that tokens do not depend on how frames arrive. 0 chooses about 16 video frames."""
    latents_mean: tuple[float, ...] = ()
    """Of each latent channel over a data set (`cosmotok stats`), for training diffusion models; empty if unknown."""
    latents_std: tuple[float, ...] = ()
    """Standard deviations, as `latents_mean`."""

    def __post_init__(self) -> None:
        for field in ("levels", "encoder_multipliers", "decoder_multipliers", "latents_mean", "latents_std"):
            value = getattr(self, field)
            if isinstance(value, list):
                object.__setattr__(self, field, tuple(value))
        if self.chunk == 0:
            time = self.temporal_factor if isinstance(self.temporal_factor, int) else 1  # refused below
            object.__setattr__(self, "chunk", max(1, 16 // max(1, time)))
        self._validate()

    def _validate(self) -> None:
        def require(fine: bool, field: str, expected: str) -> None:
            if not fine:
                raise ConfigError(
                    f"{field}={shown(getattr(self, field))}: expected {expected} (variant {self.variant})"
                )

        try:
            plain_text("variant", self.variant, 200)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        require(self.kind in ("video", "image"), "kind", "'video' or 'image'")
        require(self.patch in (2, 4), "patch", "2 or 4")
        for field, most in LIMITS.items():
            require(_is_whole(getattr(self, field), 1, most), field, f"a whole number from 1 to {most}")
        space_ok = _is_power_of_two(self.spatial_factor) and self.spatial_factor >= self.patch
        require(space_ok, "spatial_factor", f"a power of two, at least patch={self.patch}")
        if self.kind == "image":
            require(self.temporal_factor == 1, "temporal_factor", "1 for an image tokenizer")
            require(
                self.channels % 32 == 0,
                "channels",
                "a multiple of 32 for an image tokenizer (its norms have 32 groups)",
            )
        else:
            time_ok = _is_power_of_two(self.temporal_factor) and self.temporal_factor >= self.patch
            require(time_ok, "temporal_factor", f"a power of two, at least patch={self.patch}")
        for field in ("encoder_multipliers", "decoder_multipliers"):
            fine = getattr(self, field) and _are_whole(getattr(self, field), STAGES, 1, WIDEST)
            require(fine, field, f"1 to {STAGES} whole numbers from 1 to {WIDEST}")
        space, time = self.halvings
        require(space >= time, "temporal_factor", f"at most spatial_factor={self.spatial_factor}")
        # The last stage of a video network does not resample; the first of its decoder leaves time alone.
        down = space if self.kind == "image" else space + 1
        up = time + 2 if 0 < time == space and not self.legacy_mode else down
        for field, stages in (("encoder_multipliers", down), ("decoder_multipliers", up)):
            require(len(getattr(self, field)) >= stages, field, f"at least {stages} stages for these factors")
        if self.linear_shortcut:
            require(self.z_channels >= self.latent_channels, "z_channels", "at least latent_channels, for the shortcut")
        for field in ("latents_mean", "latents_std"):
            value = getattr(self, field)
            fits = isinstance(value, tuple) and len(value) in (0, self.latent_channels)
            require(
                fits and all(isinstance(x, (int, float)) and abs(x) <= LARGEST for x in value),
                field,
                f"{self.latent_channels} numbers, one per latent channel, or none",
            )
        require(all(x > 0 for x in self.latents_std), "latents_std", "numbers above 0")
        both = len(self.latents_mean) == len(self.latents_std)
        require(both, "latents_std", f"as many numbers as latents_mean, which has {len(self.latents_mean)}")
        if self.levels:
            require(_are_whole(self.levels, 30, 2, 2**31), "levels", "up to 30 whole numbers of at least 2")
            require(self.vocab_size < 2**31, "levels", "a product below 2^31")  # type: ignore[operator]
            require(
                self.latent_channels == len(self.levels),
                "latent_channels",
                f"{len(self.levels)}, one per FSQ level",
            )

    @property
    def is_discrete(self) -> bool:
        """Whether tokens are FSQ indices rather than continuous latents."""
        return bool(self.levels)

    @property
    def vocab_size(self) -> int | None:
        """Number of FSQ codes; None for a continuous tokenizer."""
        return math.prod(self.levels) if self.levels else None

    @property
    def halvings(self) -> tuple[int, int]:
        """How often the stages halve (space, time), after the wavelet."""
        time = 0 if self.kind == "image" else (self.temporal_factor // self.patch).bit_length() - 1
        return (self.spatial_factor // self.patch).bit_length() - 1, time

    @property
    def spec(self) -> TokenizerSpec:
        """What everything above the network goes by."""
        return TokenizerSpec(
            self.variant,
            self.spatial_factor,
            self.temporal_factor,
            self.latent_channels,
            self.vocab_size,
            clips=self.kind == "video",
            attends=self.kind == "video",
            chunk=self.chunk,
        )

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Latent positions (T', H', W') of a clip of that size."""
        return self.spec.grid(frames, height, width)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the version of the schema."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {"config_version": CONFIG_VERSION, **plain}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TokenizerConfig:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: for an unknown key, a wrong type or another schema version.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"expected a JSON object of config keys, got {type(values).__name__}")
        values = dict(values)
        version = values.pop("config_version", None)
        if version is None:
            raise ConfigError("no config_version: not a config that cosmotok wrote")
        if version != CONFIG_VERSION:
            raise ConfigError(
                f"config_version={shown(version)}: expected {CONFIG_VERSION}; "
                "a larger one comes from a newer cosmotok, so upgrade with `pip install -U cosmotok`"
            )
        known = {f.name: f for f in fields(cls)}
        for key, value in values.items():
            if key not in known:
                raise ConfigError(f"unknown config key {shown(key)}{suggest(key, known)}")
            default = known[key].default
            expected = (list, tuple) if isinstance(default, tuple) else type(default)
            if not isinstance(value, expected) or (isinstance(value, bool) and expected is int):
                raise ConfigError(f"config key {key}={shown(value)}: expected {type(default).__name__}")
        return cls(**values)


@dataclass(frozen=True)
class ModelEntry:
    """A model known by name: its config, and where its weights are."""

    name: str
    config: TokenizerConfig
    hub: str | None = None
    """Repository on the Hugging Face Hub, for the published models."""
    bundled: bool = False
    """Whether the weights come with this package."""


def find_model(name: str) -> ModelEntry:
    """The entry called `name`, a model's or a Hub repository's; capitals do not matter.

    Raises:
        UnknownModelError: naming the nearest known ones.
    """
    entry = _BY_NAME.get(name.lower())
    if entry is None:
        raise UnknownModelError(
            f"unknown model {name!r}{suggest(name, list_models())} (`cosmotok models` lists all; a path works too)"
        )
    return entry


def list_models() -> list[str]:
    """Names of all known models: the bundled ones first, then NVIDIA's published ones."""
    return list(_REGISTRY)


def bundled_models() -> list[ModelEntry]:
    """The models whose weights come with the package."""
    return [entry for entry in _REGISTRY.values() if entry.bundled]


def suggest(word: str, known: Any) -> str:
    """'; did you mean X?' for the nearest of `known`, or nothing."""
    by_lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(word[:100].lower(), by_lower, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(by_lower[n] for n in near)}?" if near else ""


def shown(value: Any) -> str:
    """For a message."""
    return one_line(repr(value) if isinstance(value, str) else value)


def _is_whole(n: Any, low: int, high: int) -> bool:
    return type(n) is int and low <= n <= high


def _are_whole(values: Any, most: int, low: int, high: int) -> bool:
    return isinstance(values, tuple) and len(values) <= most and all(_is_whole(n, low, high) for n in values)


def _is_power_of_two(n: Any) -> bool:
    return _is_whole(n, 1, WIDEST) and n & (n - 1) == 0


def _published(variant: str) -> ModelEntry:
    """A published variant from its name: C/D = continuous/discrete, I/V = image/video, then [time x] space x space."""
    letters, _, rest = variant.partition("V") if "V" in variant else variant.partition("I")
    shape, _, resolution = rest.partition("-")
    factors = [int(n) for n in shape.split("x")]
    video, discrete = len(factors) == 3, letters == "D"
    patch = 2 if resolution == "360p" else 4
    config = TokenizerConfig(
        variant=variant,
        kind="video" if video else "image",
        spatial_factor=factors[-1],
        temporal_factor=factors[0] if video else 1,
        levels=FSQ_LEVELS if discrete else (),
        latent_channels=len(FSQ_LEVELS) if discrete else 16,
        patch=patch,
        # The published image models and the 360p video model widen before they quantise.
        z_channels=256 if discrete and (not video or patch == 2) else 16,
        decoder_multipliers=(2, 4) if variant == "CV4x8x8" else (2, 4, 4),
    )
    family = "Cosmos-Tokenize1-" if resolution else "Cosmos-0.1-Tokenizer-"
    return ModelEntry(variant, config, hub=f"nvidia/{family}{variant}")


def _tiny(
    name: str, published: str, encoder: tuple[int, ...] = (1, 2), decoder: tuple[int, ...] = (1, 2)
) -> ModelEntry:
    """One of our own small models: a published one's shape at another width, with a linear shortcut.

    Width is cheap at the latent scale and dear at the wavelet's, so they grow late.
    """
    config = replace(
        _published(published).config,
        variant=name,
        channels=32,
        encoder_multipliers=encoder,
        decoder_multipliers=decoder,
        z_channels=16,
        linear_shortcut=True,
    )
    return ModelEntry(name, config, bundled=True)


_PUBLISHED = (
    *("CI8x8", "CI16x16", "DI8x8", "DI16x16"),
    *("CV4x8x8", "CV8x8x8", "CV8x16x16", "DV4x8x8", "DV8x8x8", "DV8x16x16"),
    *("CI8x8-360p", "CI16x16-360p", "DI8x8-360p", "DI16x16-360p"),
    *("CV4x8x8-360p", "DV4x8x8-360p", "CV8x8x8-720p", "DV8x16x16-720p"),
)
_REGISTRY: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in [
        _tiny("ci8x8-tiny", "CI8x8"),
        _tiny("ci16x16-tiny", "CI16x16", (1, 2, 4), (1, 2, 4)),
        _tiny("di8x8-tiny", "DI8x8"),
        _tiny("cv4x8x8-tiny", "CV4x8x8"),
        _tiny("cv8x8x8-tiny", "CV8x8x8", (1, 2), (1, 2, 2)),
        _tiny("dv4x8x8-tiny", "DV4x8x8"),
        _tiny("dv8x16x16-tiny", "DV8x16x16", (1, 2, 2), (1, 2, 2)),
        *(_published(variant) for variant in _PUBLISHED),
    ]
}
_BY_NAME = {name.lower(): entry for name, entry in _REGISTRY.items()}
_BY_NAME |= {entry.hub.lower(): entry for entry in _REGISTRY.values() if entry.hub}
# Cosmos-1.0 published the 720p models under other names.
_BY_NAME["nvidia/cosmos-1.0-tokenizer-cv8x8x8"] = _REGISTRY["CV8x8x8-720p"]
_BY_NAME["nvidia/cosmos-1.0-tokenizer-dv8x16x16"] = _REGISTRY["DV8x16x16-720p"]
# The first release left out the 0.1; the published code names repositories without their owner.
_BY_NAME |= {name.replace("cosmos-0.1-", "cosmos-"): entry for name, entry in _BY_NAME.items() if "cosmos-0.1-" in name}
_BY_NAME |= {name.rpartition("/")[2]: entry for name, entry in _BY_NAME.items() if "/" in name}
