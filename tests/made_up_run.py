"""The folder of a training run that never was: seeded curves of the usual shape, and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cosmotok import Tokenizer
from cosmotok.training.pictures import Sample, write_clip, write_grid

RECIPE = "name: made-up\nmodel: {model}\nstages:\n- steps: 6000\n  frames: 9\n  crop: 128\nseed: 0\n"


def log_lines(steps: int = 6000, every: int = 50, discrete: bool = False, seed: int = 0) -> list[dict[str, Any]]:
    """Lines of a run: losses that fall, a perceptual term from the second third on, validation ten times."""
    rng = np.random.default_rng(seed)
    lines: list[dict[str, Any]] = []
    for step in range(every, steps + 1, every):
        share = step / steps
        l1 = 0.02 + 0.2 * np.exp(-9 * share) + 0.003 * rng.normal() * (1.2 - share)
        terms = {"l1": abs(l1)}
        if share > 1 / 3:
            terms |= {
                "perceptual": 0.03 * (1 - 0.3 * share) + 0.001 * rng.normal(),
                "gram": 0.004 + 0.0004 * rng.random(),
            }
        psnr = 19 + 10 * (1 - np.exp(-5 * share))
        lines.append(
            {
                "kind": "train",
                "step": step,
                "stage": int(share > 1 / 3),
                "epoch": step / 700,
                "seconds": step * 0.31,
                "loss": sum(terms.values()),
                "terms": terms,
                "psnr": psnr + 0.4 * rng.normal(),
                "lr": 1e-3 * min(1, step / 300, 0.02 + 0.98 * np.cos(share * np.pi / 2)),
                "samples_per_second": 21 + rng.normal(),
                "waiting": abs(0.03 + 0.02 * rng.normal()),
                "grad_norm": 0.4 + 2 * np.exp(-6 * share) + 0.05 * rng.random(),
                "skipped": int(share > 0.6) * 2,
            }
        )
        if step % max(every, steps // 10) == 0:
            figures = {"psnr": psnr + 0.8, "videos_psnr": psnr + 1, "images_psnr": psnr + 0.6, "ssim": psnr / 36}
            figures["psnr_by_place"] = {"1": psnr + 2, "2-17": psnr + 1.5, "18-33": psnr + 0.5}
            if discrete:
                figures |= {"code_usage": 0.55 * share + 0.1, "perplexity": 9000 * share + 900}
            files = [
                {"name": "<script>alert(1)</script>.mp4", "kind": "video", "frames": 33, "psnr": psnr, "ssim": 0.8}
            ]
            more = {"protocol": "whole frames", "skipped_files": ["a&b.png: is damaged"], "files": files}
            lines.append({"kind": "validation", "step": step, "seconds": step * 0.31, **figures, **more})
    return lines


def write_log(folder: Path, lines: list[dict[str, Any]], rest: str = "") -> None:
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + rest)


def wave(height: int, width: int, phase: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (127 + 100 * np.sin(np.stack([x / 5 + y / 9 + phase, x / 7, y / 4 - phase], axis=-1))).astype(np.uint8)


def sample(label: str, height: int, width: int, strength: float = 6, phase: float = 0) -> Sample:
    original = wave(height, width, phase)
    noise = np.random.default_rng(0).normal(0, strength, original.shape)
    return Sample(label, original, (original + noise).clip(0, 255).round().astype(np.uint8))


def made_up_run(folder: Path, tokenizer: Tokenizer | None = None, pictures: bool = True, **options: Any) -> Path:
    """A whole folder, with the model of `tokenizer`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_log(folder, log_lines(**options))
    (folder / "recipe.yaml").write_text(RECIPE.format(model="<script>"))
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    if pictures:
        (folder / "samples").mkdir(exist_ok=True)
        rows = [sample("wide.mp4, frame 17", 48, 80), sample("high.png", 96, 40), sample("square.png", 64, 64)]
        write_grid(folder / "samples" / "step-00006000.png", rows)
        film = [sample("", 32, 48, phase=t / 3) for t in range(6)]
        sides = [pair.original for pair in film], [pair.reconstruction for pair in film]
        write_clip(folder / "samples" / "step-00006000-1.mp4", *sides, 12)
    return folder
