"""What a benchmark found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from cosmotok.interface import Clip

__all__ = ["HALVES", "Agreement", "Half", "Machine", "Report", "Result"]

HALVES = ("encode", "decode")
GIGA = 1e9


@dataclass(frozen=True)
class Machine:
    """Where and how it was measured."""

    device_type: str
    """"cpu", "cuda" or "mps"."""
    device: str
    """Name of the processor or GPU."""
    dtype: str
    threads: int
    torch: str
    diffusers: str | None
    products: dict[Clip, dict[str, float]]
    """Operations per second of a plain matrix product by each library, measured while clips of that size were."""

    def attainable(self, clip: Clip) -> float:
        """The fastest of them."""
        return max(self.products[clip].values())


@dataclass(frozen=True)
class Half:
    """Encoding or decoding a clip."""

    frames: int
    operations: int | None
    """Of the direct algorithms; None for a model that is no network."""
    seconds: tuple[float, ...]
    """Of every round."""
    peak_memory: int | None
    """Bytes beyond the loaded model and the clip itself; None where the system does not tell."""

    @property
    def frames_per_second(self) -> float:
        """In the best round."""
        return self.frames / min(self.seconds)

    @property
    def gflop_per_frame(self) -> float | None:
        """In direct algorithms."""
        return None if self.operations is None else self.operations / self.frames / GIGA

    @property
    def rate(self) -> float | None:
        """Operations of the direct algorithms per second, in the best round."""
        return None if self.operations is None else self.operations / min(self.seconds)


@dataclass(frozen=True)
class Result:
    """One model on one size of clip."""

    name: str
    asked: Clip
    taken: Clip | None
    """What the model takes for that; None if it failed before that was known."""
    parameters: int | None
    encode: Half | None
    decode: Half | None
    notes: Sequence[str] = ()
    error: str | None = None
    """Why there is nothing else."""

    @property
    def peak_memory(self) -> int | None:
        """Bytes, of the half that takes more."""
        peaks = [half.peak_memory for half in (self.encode, self.decode) if half is not None]
        return max((peak for peak in peaks if peak is not None), default=None)


@dataclass(frozen=True)
class Agreement:
    """Largest differences of two models with the same weights, relative to the range of the second one's values."""

    name: str
    other: str
    clip: Clip
    latents: float
    frames: float


@dataclass(frozen=True)
class Report:
    machine: Machine
    rounds: int
    baseline: str
    """Whose speed is 1."""
    results: list[Result]
    agreements: list[Agreement]

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.error is not None]

    @property
    def clips(self) -> list[Clip]:
        return list(dict.fromkeys(result.asked for result in self.results))

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(result.name for result in self.results))

    def result(self, name: str, clip: Clip) -> Result | None:
        return next((found for found in self.results if (found.name, found.asked) == (name, clip)), None)

    def speedup(self, result: Result, half: str) -> float | None:
        """How many times as many frames per second as the baseline: the median over rounds of the ratio in a round."""
        base = self.result(self.baseline, result.asked)
        ours, theirs = getattr(result, half), getattr(base, half, None)
        if ours is None or theirs is None:
            return None
        rounds = zip(ours.seconds, theirs.seconds, strict=True)
        return median((ours.frames / mine) / (theirs.frames / its) for mine, its in rounds)

    def share(self, result: Result, half: str) -> float | None:
        """Operations of the direct algorithms per second, over those of a plain matrix product. Algorithms with fewer
        operations can exceed 1."""
        rate = getattr(getattr(result, half), "rate", None)
        return None if rate is None else rate / self.machine.attainable(result.asked)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        products = [
            {**asdict(clip), "gflop_per_second": {library: rate / GIGA for library, rate in rates.items()}}
            for clip, rates in self.machine.products.items()
        ]
        return {
            "machine": {**vars(self.machine), "products": products},
            "rounds": self.rounds,
            "baseline": self.baseline,
            "results": [self._plain(result) for result in self.results],
            "agreements": [asdict(agreement) for agreement in self.agreements],
        }

    def _plain(self, result: Result) -> dict[str, Any]:
        halves = {name: self._plain_half(result, name) for name in HALVES}
        return {**asdict(result), "notes": list(result.notes), **halves, "peak_memory": result.peak_memory}

    def _plain_half(self, result: Result, name: str) -> dict[str, Any] | None:
        half: Half | None = getattr(result, name)
        if half is None:
            return None
        return {
            "frames_per_second": half.frames_per_second,
            "gflop_per_frame": half.gflop_per_frame,
            "share_of_attainable": self.share(result, name),
            "speedup": self.speedup(result, name),
            "peak_memory": half.peak_memory,
            "seconds": list(half.seconds),
        }
