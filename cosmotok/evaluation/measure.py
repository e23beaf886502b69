"""Measuring one file, frame by frame: the figures of a protocol, and features for rFID and rFVD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cosmotok.config import suggest
from cosmotok.contestants import Source
from cosmotok.errors import CheckpointError, InputError, MissingExtraError
from cosmotok.evaluation.protocols import Protocol
from cosmotok.metrics.quality import ErrorByPlace, RunningError, RunningSSIM, RunningTemporal
from cosmotok.metrics.sharpness import RunningSharpness
from cosmotok.perceptual import i3d, inception
from cosmotok.perceptual.i3d import I3D
from cosmotok.perceptual.inception import Inception
from cosmotok.perceptual.pretrained import Download, torchvision_download
from cosmotok.perceptual.vgg import LPIPS, MINIMUM_SIZE

__all__ = ["METRICS", "FileMeasure", "JudgeOptions", "Judges", "load_judges"]

METRICS = ("psnr", "ssim", "temporal", "sharpness", "lpips", "rfid", "rfvd")
PIXELS = 2**18
"""That go through VGG at a time, unless one frame has more, with as many of the results."""


@dataclass(frozen=True)
class JudgeOptions:
    """Which metrics are measured, and the files of the networks that some look through.

    A weights file is None for the usual download; "random" stands for seeded noise, for smoke runs (not for I3D).
    """

    lpips_weights: str | None = None
    """VGG-16, torchvision's."""
    inception_weights: str | None = None
    """Inception-v3, pytorch-fid's."""
    i3d_weights: str | None = None
    """I3D as TorchScript, StyleGAN-V's."""
    wanted: tuple[str, ...] = ()
    """Names of `METRICS`. None of them means: all that can be had without a download."""


@dataclass(frozen=True)
class Judges:
    """What measures files: names of `METRICS`, and the networks of those that need one, on their device."""

    metrics: frozenset[str]
    device: torch.device
    lpips: LPIPS | None = None
    inception: Inception | None = None
    i3d: I3D | None = None


@dataclass(frozen=True)
class Network:
    """What a metric needs: its option, where its weights usually come from, and how it is made of a file."""

    option: str
    download: Callable[[], Download]
    build: Callable[[str], torch.nn.Module]


# Options are called as on the command line, since messages end there.
NETWORKS = {
    "lpips": Network(
        "--lpips-weights", lambda: torchvision_download("vgg16"), partial(LPIPS, option="--lpips-weights")
    ),
    "rfid": Network("--inception-weights", lambda: inception.WEIGHTS, partial(Inception, option="--inception-weights")),
    "rfvd": Network("--i3d-weights", lambda: i3d.WEIGHTS, partial(I3D, option="--i3d-weights")),
}


def load_judges(options: JudgeOptions, device: str | torch.device = "cpu") -> tuple[Judges, dict[str, str]]:
    """What measures files, and which metrics do not, and why.

    A metric asked for by name downloads what it needs. Where that fails, as where nothing was asked for by name and
    nothing is at hand, the metric is left out, with one line that says how to get it.

    Raises:
        InputError: for an unknown metric.
        CheckpointError: for a given file that is missing or of another network.
    """
    for name in options.wanted:
        if name not in METRICS:
            raise InputError(f"metric {name!r}: unknown{suggest(name, METRICS)} (there are {', '.join(METRICS)})")
    paths = {"lpips": options.lpips_weights, "rfid": options.inception_weights, "rfvd": options.i3d_weights}
    device = torch.device(device)
    loaded: dict[str, torch.nn.Module] = {}
    not_measured: dict[str, str] = {}
    for name, network in NETWORKS.items():
        if options.wanted and name not in options.wanted:
            continue
        try:
            path = paths[name] or usual_copy(name, network, download=bool(options.wanted))
            loaded[name] = network.build(path).to(device)
        except (UnavailableError, MissingExtraError) as error:
            not_measured[name] = str(error)
    metrics = frozenset(options.wanted or METRICS) - not_measured.keys()
    judges = Judges(metrics, device, loaded.get("lpips"), loaded.get("rfid"), loaded.get("rfvd"))  # type: ignore[arg-type]
    return judges, not_measured


class UnavailableError(CheckpointError):
    """Weights that the user did not name a file for are not to be had."""


def usual_copy(name: str, network: Network, download: bool) -> str:
    """The usual file of a network, downloaded only if told to."""
    usual = network.download()
    if not download and not usual.file.exists():
        raise UnavailableError(
            f"needs {usual.name}: ask for {name} by name to download them, or fetch {usual.url} and pass "
            f"{network.option}=FILE"
        )
    try:
        return str(usual.fetch(network.option))
    except CheckpointError as error:
        raise UnavailableError(str(error)) from None


class FileMeasure:
    """The figures of one file, from its frames in order; memory does not grow with their number.

    Clips for rFVD are the exception: up to 300 frames of 224 x 224 are kept, of original and result, 360 MB.

    Args:
        source: what is measured; images have features for rFID, clips those for rFVD.
    """

    def __init__(self, protocol: Protocol, judges: Judges, source: Source) -> None:
        is_clip = source.kind == "video"
        self.protocol, self.metrics = protocol, judges.metrics
        self.shape = (source.height, source.width, 3)
        self.skipping = protocol.without_first and is_clip
        self.is_clip, self.error = is_clip, ErrorByPlace(protocol.wrapped)
        self.similarity = RunningSSIM() if "ssim" in judges.metrics else None
        self.change = RunningTemporal() if "temporal" in judges.metrics and is_clip else None
        self.detail = RunningSharpness() if "sharpness" in judges.metrics else None
        self.distance: Distance | None = None
        if judges.lpips is not None and min(source.height, source.width) >= MINIMUM_SIZE:
            self.distance = Distance(judges.lpips, judges.device)
        self.view: ImageView | ClipView | None = None
        if is_clip and judges.i3d is not None:
            self.view = ClipView(judges.i3d, judges.device)
        if not is_clip and judges.inception is not None:
            self.view = ImageView(judges.inception, judges.device)

    def update(self, original: np.ndarray, result: np.ndarray) -> None:
        """Adds one frame, both uint8 (H, W, 3) of the size that was announced.

        Raises:
            InputError: for another size or type.
        """
        for frame, whose in ((original, "original"), (result, "reconstruction")):
            if frame.shape != self.shape or frame.dtype != np.uint8:
                raise InputError(f"{whose}: expected frames uint8 {self.shape}, got {frame.dtype} {frame.shape}")
        if self.skipping:
            self.skipping = False
            self.error.skip()
            return
        for part in (self.error, self.similarity, self.change, self.detail, self.distance, self.view):
            if part is not None:
                part.update(original, result)

    @property
    def whole(self) -> RunningError:
        """Of all frames so far, as the protocol has it; `quality.psnr` of sums over files is the pooled PSNR."""
        return self.error.whole

    def psnr(self, error: RunningError) -> float | None:
        """As the protocol has it; None where it was not measured."""
        if "psnr" not in self.metrics:
            return None
        return error.mean_psnr if self.protocol.per_frame else error.psnr

    def places(self) -> dict[str, float]:
        """PSNR by place in the clip so far, names of `quality.PLACES`; empty of images."""
        found = {name: self.psnr(error) for name, error in self.error.places.items()} if self.is_clip else {}
        return {name: psnr for name, psnr in found.items() if psnr is not None}

    def figures(self) -> dict[str, float | None]:
        """The figures of all frames so far, by the names of `results.FIGURES`; None where one was not measured."""
        return {
            "psnr": self.psnr(self.whole),
            "ssim": self.similarity.ssim if self.similarity else None,
            "lpips": self.distance.lpips if self.distance else None,
            "temporal": self.change.temporal if self.change else None,
            "sharpness": self.detail.sharpness if self.detail else None,
        }

    def features(self) -> dict[str, np.ndarray]:
        """Features for Frechet distances, originals first: "inception" (2, N, 2048) of images, "i3d" (2, 1, 400).

        Empty where they were not measured, and for clips below the 10 frames that I3D needs.
        """
        return self.view.features() if self.view else {}


class Distance:
    """LPIPS of a file, as the mean over its frames, several of them at a time."""

    def __init__(self, network: LPIPS, device: torch.device) -> None:
        self.network, self.device = network, device
        self.waiting: list[np.ndarray] = []
        self.total = 0.0
        self.frames = 0

    def update(self, original: np.ndarray, result: np.ndarray) -> None:
        """Adds one frame, both uint8 (H, W, 3)."""
        self.waiting.append(np.stack((original, result)))
        if len(self.waiting) * original[..., 0].size >= PIXELS:
            self.look()

    @torch.no_grad()
    def look(self) -> None:
        """Measures the frames that wait."""
        originals, results = (to_tensor(frames, self.device) * 2 - 1 for frames in np.stack(self.waiting, axis=1))
        self.total += float(self.network(results, originals)) * len(self.waiting)
        self.frames += len(self.waiting)
        self.waiting.clear()

    @property
    def lpips(self) -> float | None:
        """None before the first frame."""
        if self.waiting:
            self.look()
        return self.total / self.frames if self.frames else None


class ImageView:
    """What Inception sees in an image and in its reconstruction."""

    def __init__(self, network: Inception, device: torch.device) -> None:
        self.network, self.device = network, device
        self.seen: list[np.ndarray] = []

    @torch.no_grad()
    def update(self, original: np.ndarray, result: np.ndarray) -> None:
        """Adds one image, both uint8 (H, W, 3)."""
        self.seen.append(self.network(to_tensor(np.stack((original, result)), self.device)).cpu().numpy())

    def features(self) -> dict[str, np.ndarray]:
        return {"inception": np.stack(self.seen, axis=1)} if self.seen else {}


class ClipView:
    """What I3D sees in a clip and in its reconstruction, once all frames are there."""

    def __init__(self, network: I3D, device: torch.device) -> None:
        self.network, self.device = network, device
        self.prepared: list[Tensor] = []

    def update(self, original: np.ndarray, result: np.ndarray) -> None:
        """Adds one frame, both uint8 (H, W, 3)."""
        if len(self.prepared) < i3d.MAXIMUM_FRAMES:
            pair = to_tensor(np.stack((original, result)), self.device)
            self.prepared.append(torch.stack([I3D.prepare(frame) for frame in pair]).cpu())

    @torch.no_grad()
    def features(self) -> dict[str, np.ndarray]:
        if len(self.prepared) < i3d.MINIMUM_FRAMES:
            return {}
        seen = []
        for frames in zip(*self.prepared, strict=True):  # of the original, of the result
            clip = torch.stack(frames, dim=1).to(self.device)
            seen.append(self.network(clip).cpu().numpy())
        return {"i3d": np.stack(seen)}


def to_tensor(frames: np.ndarray, device: torch.device) -> Tensor:
    """Frames, uint8 (N, H, W, 3), as (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 255
