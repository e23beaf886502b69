"""Writes the parity fixtures of this folder: `python tests/parity/make.py`; see README.md."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures import OWN_PARITY, VARIANTS, made_up_input, made_up_weights

from cosmotok.config import find_model
from cosmotok.families.published.layout import PublishedLayout

CHANNELS = 32
"""Base width; published networks have 128. The image networks' norms have 32 groups."""


def make(variant: str, seed: int) -> None:
    """Writes one variant's numbers."""
    config = replace(find_model(variant).config, channels=CHANNELS)
    network = PublishedLayout(config).eval()
    weights = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(made_up_weights(weights))
    shape = [1, 3, 32, 48] if config.kind == "image" else [1, 3, 9, 16, 32]
    video = made_up_input(seed, shape)
    results = numbers(network, video, "")
    if config.kind == "video":
        results |= numbers(network, video[:, :, :1], "image_")
    save_file(results, OWN_PARITY / f"{variant}.safetensors")
    facts = {"variant": variant, "input_shape": shape, "input_seed": seed, "buffers": [], "weights": weights}
    (OWN_PARITY / f"{variant}.json").write_text(json.dumps(facts, separators=(",", ":")) + "\n", encoding="utf-8")


@torch.no_grad()
def numbers(network: PublishedLayout, video: torch.Tensor, prefix: str) -> dict[str, torch.Tensor]:
    """Tokens and reconstruction of `video`."""
    tokens = network.encode(video)
    results = {"reconstruction": network.decode(tokens)}
    if network.quantizer is None:
        results["latents"] = tokens
    else:
        results |= {"indices": tokens, "codes": network.quantizer.indices_to_codes(tokens).movedim(-1, 1)}
    return {prefix + name: tensor.contiguous() for name, tensor in results.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for number, name in enumerate(VARIANTS):
        make(name, number)
        print(name)
