"""What an evaluation found, as plain values that go to JSON and come back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cosmotok.contestants import Traits
from cosmotok.errors import InputError
from cosmotok.metrics.intervals import Interval

__all__ = ["FIGURES", "Comparison", "FileResult", "ModelResult", "Totals"]

VERSION = 1
FIGURES = ("psnr", "ssim", "lpips", "temporal", "sharpness")
"""Of every file; means with intervals are taken of these."""


@dataclass(frozen=True)
class FileResult:
    """One file through one contestant. None where a figure does not apply or was not measured."""

    file: str
    """Relative to the data's folder, with forward slashes."""
    kind: Literal["image", "video"]
    frames: int
    """That were measured."""
    width: int
    height: int
    psnr: float | None
    """dB; infinity for equal pixels."""
    ssim: float | None = None
    lpips: float | None = None
    temporal: float | None = None
    """PSNR, dB, of the differences between neighbouring frames; None for images."""
    sharpness: float | None = None
    """Fine detail relative to the source, 1 where as sharp; see `metrics.sharpness`."""
    bits_per_pixel: float | None = None
    codes: int | None = None
    """Indices of a discrete tokenizer."""
    seconds: float | None = None
    """Encoding and decoding, reading and measuring left out."""
    places: dict[str, float] = field(default_factory=dict)
    """PSNR, dB, by place in a clip, names of `quality.PLACES`; those that it reaches."""


@dataclass(frozen=True)
class Totals:
    """The figures of all images, or of all videos."""

    files: int
    frames: int
    figures: dict[str, Interval]
    """By name, of `FIGURES`; those that were measured."""
    bits_per_pixel: float | None = None
    frames_per_second: float | None = None
    megapixels_per_second: float | None = None
    frechet: float | None = None
    """rFID of images, rFVD of videos."""
    places: dict[str, Interval] = field(default_factory=dict)
    """PSNR of videos by place in the clip, over those that reach it."""


@dataclass(frozen=True)
class ModelResult:
    """One contestant on all files."""

    name: str
    traits: Traits
    files: list[FileResult]
    images: Totals | None
    videos: Totals | None
    code_usage: float | None = None
    """Share of the vocabulary, 0 to 1."""
    perplexity: float | None = None
    failed: dict[str, str] = field(default_factory=dict)
    """Files that this contestant failed on, and why."""
    error: str | None = None
    """Why it was not measured at all."""


@dataclass(frozen=True)
class Comparison:
    """Contestants side by side on the same data."""

    protocol: str
    """Its name."""
    protocol_text: str
    """How it was measured, in words."""
    data: str
    models: list[ModelResult]
    unread: dict[str, str] = field(default_factory=dict)
    """Files that could not be read, and why."""
    not_measured: dict[str, str] = field(default_factory=dict)
    """Figures that were left out, and why, such as LPIPS without its weights."""
    machine: str = ""
    """CPU or GPU, threads, versions: of the speeds."""

    @property
    def is_complete(self) -> bool:
        """Whether every file was read and measured with every contestant."""
        return not self.unread and not any(model.failed or model.error for model in self.models)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, infinity as text."""
        return {"version": VERSION, **to_plain(asdict(self))}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Comparison:
        """Inverse of `to_dict`.

        Raises:
            InputError: for another version or other keys.
        """
        values = from_plain(dict(values))
        if values.pop("version", None) != VERSION:
            raise InputError(f"results: expected version {VERSION} of cosmotok's comparisons; measure again")
        try:
            models = [model_from(model) for model in values.pop("models")]
            return cls(models=models, **values)
        except (KeyError, TypeError) as error:
            raise InputError(f"results: damaged or of another version of cosmotok ({error}); measure again") from None


def model_from(values: dict[str, Any]) -> ModelResult:
    values = dict(values)
    return ModelResult(
        files=[FileResult(**file) for file in values.pop("files")],
        traits=Traits(**values.pop("traits")),
        images=totals_from(values.pop("images")),
        videos=totals_from(values.pop("videos")),
        **values,
    )


def totals_from(values: dict[str, Any] | None) -> Totals | None:
    if values is None:
        return None
    by_name = {
        key: {name: Interval(**interval) for name, interval in values.get(key, {}).items()}
        for key in ("figures", "places")
    }
    return Totals(**{**values, **by_name})


def to_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: from_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    return float(value) if value in ("inf", "-inf", "nan") else value
