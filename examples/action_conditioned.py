"""A world model in small: predicts the next latent frame from the one before and a robot's actions.

python examples/action_conditioned.py --output world_output

A square that actions move is written as a LeRobot data set (v2.1) and becomes `cv4x8x8-tiny` latents, with the actions
of each latent frame beside it (`latent_signals`). An action leads to the next frame, so those of both latent frames
count. On held-out episodes, the loss with other episodes' actions has to be worse than with their own: that is what the
model has learnt of actions. With --data, a LeRobot data set of yours that has `action`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import torch
from common import Losses, arguments, write_clip
from torch import Tensor, nn

from cosmotok import Tokenizer
from cosmotok.dataset import TokenDataset, collate
from cosmotok.dataset.options import Options
from cosmotok.dataset.run import tokenize
from cosmotok.dataset.shaping import Shaping
from cosmotok.media import VideoWriter
from cosmotok.writing import output_folder

MODEL, SIDE, FRAMES, RATE = "cv4x8x8-tiny", 64, 17, 10
EPISODES, SQUARE, FASTEST, HELD_OUT, BATCH = 256, 12, 3, 16, 16


def write_robot(folder: Path) -> None:
    """Episodes of a square whose action is how far it moves to the next frame, (x, y) in pixels."""
    rng = np.random.default_rng(0)
    data, videos = folder / "data/chunk-000", folder / "videos/chunk-000/observation.images.top"
    for each in (data, videos, folder / "meta"):
        each.mkdir(parents=True)
    for episode in range(EPISODES):
        place, rows = rng.integers(0, SIDE - SQUARE, 2), []
        name = f"episode_{episode:06}"
        with VideoWriter(videos / f"{name}.mp4", width=SIDE, height=SIDE, frame_rate=RATE) as writer:
            for number in range(FRAMES):
                frame = np.full((SIDE, SIDE, 3), 40, np.uint8)
                frame[place[1] : place[1] + SQUARE, place[0] : place[0] + SQUARE] = 230, 180, 60
                writer.write(frame)
                if number % 4 == 0:
                    move = rng.integers(-FASTEST, FASTEST + 1, 2)
                after = (place + move).clip(0, SIDE - SQUARE)
                rows.append({"action": (after - place).astype(float).tolist(), "timestamp": number / RATE})
                rows[-1] |= {"frame_index": number, "episode_index": episode, "index": episode * FRAMES + number}
                place = after
        parquet.write_table(pa.Table.from_pylist(rows), data / f"{name}.parquet")
    facts = [{"episode_index": episode, "tasks": ["move"], "length": FRAMES} for episode in range(EPISODES)]
    (folder / "meta/episodes.jsonl").write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    info = {
        "codebase_version": "v2.1",
        "fps": RATE,
        "total_episodes": EPISODES,
        "total_frames": EPISODES * FRAMES,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {
            "observation.images.top": {"dtype": "video", "shape": [SIDE, SIDE, 3], "names": None},
            "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
            **{name: {"dtype": "int64", "shape": [1]} for name in ("frame_index", "episode_index", "index")},
            "timestamp": {"dtype": "float32", "shape": [1]},
        },
    }
    (folder / "meta/info.json").write_text(json.dumps(info))


class NextLatent(nn.Module):
    """From a latent frame (B, C, H', W') and actions (B, N) to the next latent frame."""

    def __init__(self, channels: int, actions: int, width: int = 96) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.actions = nn.Sequential(nn.Linear(actions, width), nn.SiLU(), nn.Linear(width, 3 * width))
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.leave = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, latent: Tensor, actions: Tensor) -> Tensor:
        hidden = self.enter(latent)
        for layer, scale in zip(self.layers, self.actions(actions).chunk(3, dim=1), strict=True):
            hidden = hidden + layer(nn.functional.silu(hidden + scale[:, :, None, None]))
        return latent + self.leave(nn.functional.silu(hidden))


def pairs(batch: dict) -> tuple[Tensor, Tensor]:
    """Latents (B, T', C, H', W') and for each but the first the actions that lead to it, (B, T' - 1, N)."""
    actions = batch["latent_signals"]["action"].flatten(2) / FASTEST
    return batch["tokens"].transpose(1, 2), torch.cat([actions[:, :-1], actions[:, 1:]], dim=2)


def loss_of(model: NextLatent, latents: Tensor, actions: Tensor) -> Tensor:
    guess = model(latents[:, :-1].flatten(0, 1), actions.flatten(0, 1))
    return (guess - latents[:, 1:].flatten(0, 1)).square().mean()


def main() -> None:
    chosen = arguments(__doc__.splitlines()[0], 600, "LeRobot data set (default: one is made)")
    robot, tokens = chosen.data or chosen.output / "robot", chosen.output / "tokens"
    if chosen.data is None and not robot.exists():
        with output_folder(robot) as folder:  # whole or not at all
            write_robot(folder)
    shaping = Shaping(size=(SIDE, SIDE), segment=FRAMES, min_frames=FRAMES)
    tokenize([str(robot)], str(tokens), MODEL, options=Options(shaping=shaping, batch=8))
    dataset = TokenDataset(tokens, normalized=True)
    rows = [dataset[number] for number in range(len(dataset))]
    if len(rows) < 2 * HELD_OUT:
        raise SystemExit(f"--data: expected at least {2 * HELD_OUT} segments of {FRAMES} frames, got {len(rows)}")
    latents, actions = pairs(collate(rows[:-HELD_OUT]))
    model = NextLatent(latents.shape[2], actions.shape[2])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = Losses(chosen.steps)
    for _ in range(chosen.steps):
        some = torch.randint(len(latents), (BATCH,))
        loss = loss_of(model, latents[some], actions[some])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.add(loss)

    latents, actions = pairs(collate(rows[-HELD_OUT:]))
    with torch.inference_mode():
        own, others = loss_of(model, latents, actions), loss_of(model, latents, actions.roll(1, dims=0))
        made = [latents[:1, 0]]
        for step in range(actions.shape[1]):
            made.append(model(made[-1], actions[:1, step]))
    print(f"held out: loss {own:.4f} with its own actions, {others:.4f} with those of another episode")
    tokenizer = Tokenizer.from_pretrained(MODEL)
    dataset.check(tokenizer)
    both = torch.cat([latents[:1], torch.stack(made, dim=1)]).transpose(1, 2)
    videos = tokenizer.decode(dataset.denormalize(both), size=rows[-HELD_OUT]["size"])
    write_clip(chosen.output / "rollout.mp4", list(videos), rows[-HELD_OUT]["frame_rate"])


if __name__ == "__main__":
    main()
