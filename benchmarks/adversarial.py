"""What the adversarial stage does: sharpness gained and PSNR lost against the same run without it.

    python benchmarks/adversarial.py TRAINING_DATA VALIDATION_DATA [STEPS]

Both runs start from dv4x8x8-tiny, see the same batches, and train the decoder alone, so the tokens are the same.
Sharpness is `high_frequency_ratio`: 1 is as much fine detail as the source.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from cosmotok import Tokenizer
from cosmotok.frames import to_pixels, to_video
from cosmotok.media import find_media, open_media
from cosmotok.metrics.quality import RunningQuality
from cosmotok.metrics.sharpness import high_frequency_ratio
from cosmotok.printing import print_table
from cosmotok.training.overrides import override
from cosmotok.training.recipes import find_recipe
from cosmotok.training.run import start_run

FRAMES = 17
COMMON = [
    *(
        "start=dv4x8x8-tiny",
        "train=decoder",
        "init_batches=0",
        "seed=1",
        "validation.every=1000000",
        "loss.adversarial_start=100",
    ),
    *("optimizer.learning_rate=4e-3", "optimizer.vector_rate=5e-4", "schedule.warmup_steps=20", "ema_decay=0.98"),
    *("loss.discriminator_width=32", "loss.discriminator_layers=2", "loss.discriminators=[2d]", "loss.lecam=0.005"),
    "optimizer.discriminator_rate=1e-3",
]


def train(data: str, steps: int, weight: float) -> Tokenizer:
    """A short run with that weight of the adversarial term."""
    stage = f"stages=[{{steps: {steps}, frames: 9, crop: 96, clips: 2, images: 4, loss: {{adversarial: {weight}}}}}]"
    recipe = override(find_recipe("dv4x8x8-tiny"), None, [f"data.train=[{data!r}]", stage, *COMMON])
    with tempfile.TemporaryDirectory() as folder:
        start_run(recipe, Path(folder) / "run")
        return Tokenizer.from_pretrained(Path(folder) / "run")


def measure(tokenizer: Tokenizer, files: list[Path]) -> tuple[float, float]:
    """Mean PSNR in dB, all frames, and mean sharpness."""
    psnr, sharpness = [], []
    for path in files:
        with open_media(path) as media:
            frames = list(islice(media, FRAMES))
        original = to_video(frames)
        reconstruction = tokenizer.reconstruct(original)
        quality = RunningQuality()
        for frame, pixels in zip(frames, to_pixels(reconstruction), strict=True):
            quality.update(frame.pixels, pixels)
        psnr.append(quality.psnr)
        source = original.float() / 127.5 - 1
        sharpness.append(float(high_frequency_ratio(reconstruction.clamp(-1, 1), source)))
    return float(np.mean(psnr)), float(np.mean(sharpness))


def main() -> None:
    data, validation = sys.argv[1], Path(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 800
    torch.manual_seed(0)
    files = find_media(validation)
    start = Tokenizer.from_pretrained("dv4x8x8-tiny")
    models = {"start": start, "without": train(data, steps, 0.0), "with": train(data, steps, 0.8)}
    rows = []
    for name, tokenizer in models.items():
        psnr, sharpness = measure(tokenizer, files)
        rows.append((f"{name}, {0 if name == 'start' else steps} steps", f"{psnr:.2f} dB", f"{sharpness:.3f}"))
    print_table(("adversarial stage", "PSNR", "sharpness"), rows)


if __name__ == "__main__":
    main()
