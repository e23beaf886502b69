"""What weights in int8 cost, of every bundled model: PSNR, and how many tokens are others; on photos, one frame each.

python benchmarks/export_precision.py FOLDER_OF_PHOTOS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cosmotok import Tokenizer
from cosmotok.config import find_model, list_models
from cosmotok.export.precision import PRECISIONS, round_weights

SIDE = 256


def photos(folder: str) -> list[torch.Tensor]:
    """The middle of each photo, as (1, 3, 1, SIDE, SIDE) in [-1, 1]."""
    found = []
    for path in sorted(Path(folder).iterdir()):
        image = Image.open(path).convert("RGB")
        left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
        pixels = np.array(image.crop((left, top, left + SIDE, top + SIDE)))
        found.append(torch.from_numpy(pixels).permute(2, 0, 1)[None, :, None] / 127.5 - 1)
    return found


def main() -> None:
    images = photos(sys.argv[1])
    print(f"{len(images)} photos of {SIDE} x {SIDE}")
    print(f"{chr(32):24} {chr(32)}  PSNR  tokens: share of others (discrete), mean difference in standard deviations")
    for name in (name for name in list_models() if find_model(name).bundled):
        plain = Tokenizer.from_pretrained(name)
        expected = [plain.encode(image) for image in images]
        for precision in PRECISIONS:
            tokenizer = Tokenizer.from_pretrained(name)
            round_weights(tokenizer.network, precision)
            errors, differences = [], []
            for image, tokens in zip(images, expected, strict=True):
                got = tokenizer.encode(image)
                errors.append((tokenizer.decode(got) - image).square().mean().item() / 4)
                if plain.config.is_discrete:
                    differences.append((got != tokens).float().mean().item())
                else:
                    differences.append(((got - tokens).abs().mean() / tokens.std()).item())
            psnr = np.mean([-10 * np.log10(error) for error in errors])
            print(f"{name:15} {precision:8} {psnr:6.2f}  {100 * np.mean(differences):.2f}%", flush=True)


if __name__ == "__main__":
    main()
