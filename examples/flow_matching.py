"""A flow-matching model on image latents, with diffusers' network and scheduler; draws pictures from noise.

python examples/flow_matching.py --output flow_output

Crops of photos that ship with scikit-image become normalised latents of `ci8x8-tiny`, 16 x 8 x 8 numbers for 64 x 64
pixels. The network learns the velocity from data to noise; `FlowMatchEulerDiscreteScheduler` follows it back. There are
a handful of photos only: expect coarse pictures of what is in them, not new ones. With --data, a folder of your
photos, it crops those.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from common import Losses, arguments, pixels
from demo import media_of
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from cosmotok import Tokenizer
from cosmotok.dataset import TokenDataset
from cosmotok.dataset.options import Options
from cosmotok.dataset.run import tokenize
from cosmotok.media import find_media, is_image_path, write_image
from cosmotok.writing import output_folder

MODEL, SIDE = "ci8x8-tiny", 64
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
CROPS, BATCH, SHOWN, SAMPLING_STEPS = 40, 16, 8, 40


def crop(photos: list[Path], folder: Path) -> None:
    """Squares of random sizes and places of each photo."""
    rng = np.random.default_rng(0)
    for photo in photos:
        image = Image.open(photo).convert("RGB")
        shorter = min(image.size)
        for number in range(CROPS):
            side = int(rng.integers(2 * shorter // 3, shorter)) + 1
            left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
            square = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
            square.save(folder / f"{photo.stem}-{number:03}.png")


def network(channels: int, side: int) -> UNet2DModel:
    return UNet2DModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(96, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def train(model: UNet2DModel, dataset: TokenDataset, scheduler: FlowMatchEulerDiscreteScheduler, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loader = DataLoader(dataset.batches(BATCH), batch_size=None)
    losses, epoch = Losses(steps), 0
    while len(losses.values) < steps:
        dataset.set_epoch(epoch)
        for batch in loader:
            if len(losses.values) == steps:
                break
            latents = batch["tokens"][:, :, 0]  # (B, C, H', W'): an image has one latent frame
            noise = torch.randn_like(latents)
            share = torch.sigmoid(torch.randn(len(latents)))  # of noise; mostly in the middle, which is the hardest
            noisy = latents.lerp(noise, share[:, None, None, None])
            velocity = model(noisy, share * scheduler.config.num_train_timesteps).sample
            loss = (velocity - (noise - latents)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.add(loss)
        epoch += 1


@torch.inference_mode()
def draw(model: UNet2DModel, scheduler: FlowMatchEulerDiscreteScheduler, shape: tuple[int, ...]) -> Tensor:
    """Normalised latents (B, C, H', W') from noise."""
    model.eval()
    scheduler.set_timesteps(SAMPLING_STEPS)
    latents = torch.randn(shape)
    for time in scheduler.timesteps:
        latents = scheduler.step(model(latents, time).sample, time, latents).prev_sample
    return latents


def main() -> None:
    chosen = arguments(__doc__.splitlines()[0], 1200, "folder of photos (default: some of scikit-image)")
    photos = [media_of("skimage", f"data/{name}") for name in PHOTOS]
    if chosen.data:
        photos = [path for path in find_media(chosen.data) if is_image_path(path)]
    crops, tokens = chosen.output / "crops", chosen.output / "tokens"
    if not crops.exists():
        with output_folder(crops) as folder:  # whole or not at all
            crop(photos, folder)
    tokenize([str(crops)], str(tokens), MODEL, options=Options(batch=BATCH))

    dataset = TokenDataset(tokens, shuffle=True, normalized=True)
    channels, _, height, width = dataset[0]["tokens"].shape
    print(f"{len(dataset)} crops, latents of {channels} x {height} x {width}")
    model, scheduler = network(channels, height), FlowMatchEulerDiscreteScheduler()
    train(model, dataset, scheduler, chosen.steps)

    drawn = draw(model, scheduler, (3 * SHOWN, channels, height, width))[:, :, None]
    some = torch.linspace(0, len(dataset) - 1, SHOWN).long().tolist()
    originals = torch.stack([dataset[number]["tokens"] for number in some])
    tokenizer = Tokenizer.from_pretrained(MODEL)
    dataset.check(tokenizer)
    pictures = tokenizer.decode(dataset.denormalize(torch.cat([originals, drawn])))[:, :, 0]
    grid = torch.cat([torch.cat(list(row), dim=2) for row in pictures.split(SHOWN)], dim=1)
    write_image(chosen.output / "samples.png", pixels(grid[:, None])[0])
    print(f"{chosen.output / 'samples.png'}: crops in the first row, samples below")


if __name__ == "__main__":
    main()
