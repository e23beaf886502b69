"""Small training runs for tests: their data, their recipes, and processes of their own that can be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from written import write

from cosmotok.training.overrides import override
from cosmotok.training.recipe import Recipe
from cosmotok.training.recipes import find_recipe

SMALL = {"channels": 8, "blocks": 1, "encoder_multipliers": [1, 1], "decoder_multipliers": [1, 1]}
STAGE = {"steps": 6, "frames": 5, "crop": 16, "clips": 2, "images": 2}
ADVERSARIAL = [
    *("loss.adversarial=0.2", "loss.adversarial_start=3", "loss.discriminator_width=4"),
    *("loss.discriminator_layers=1", "loss.lecam=0.005"),
]
TIMING = {"seconds", "samples_per_second", "waiting"}


def make_data(folder: Path, videos: int = 4, images: int = 4, size: int = 24) -> Path:
    """Moving waves, as files."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:size, :size]
    for i in range(max(videos, images)):
        frames = []
        for t in range(9):
            waves = [np.sin(0.3 * (i % 5 + 1) * x + 0.4 * t + c) * np.cos(0.2 * (i + 2) * y) for c in range(3)]
            frames.append((127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8))
        if i < videos:
            write(folder / f"video{i}.mp4", frames)
        if i < images:
            Image.fromarray(frames[0]).save(folder / f"image{i}.png")
    return folder


def recipe(
    data: Path, *assignments: str, stages: list[dict[str, Any]] | None = None, model: str = "cv4x8x8-tiny"
) -> Recipe:
    """A run of a few steps on a network of width 8."""
    chosen = [STAGE | changes for changes in (stages or [{}])]
    changes = json.dumps(SMALL)
    own = [f"data.train={data}", f"stages={json.dumps(chosen)}", f"model_changes={changes}", "start=null"]
    own += ["init_batches=0", "data.workers=0", "log_every=1", "save_every=2", "schedule.warmup_steps=2"]
    own += ["precision=no", "data.motion.share=0", "data.strides=[1]"]
    return override(find_recipe(model), None, [*own, *assignments])


def lines(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The log's records of a kind, without what depends on the clock."""
    path = folder / "log.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{k: v for k, v in r.items() if k not in TIMING} for r in records if r["kind"] == kind]


def train(chosen: Recipe, folder: Path, resume: bool = False, **options: Any) -> list[dict[str, Any]]:
    """Runs in this process; returns the log."""
    from cosmotok.training.run import start_run

    start_run(chosen, folder, resume=resume, device="cpu", **options)
    return lines(folder)


# Processes --------------------------------------------------------------------------------------------------------

# One clean process imports everything once; its children start at once.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["cosmotok.training.run", "accelerate", "torch._dynamo", "torch._refs"])


def start(chosen: Recipe, folder: Path, resume: bool = False, slow: float = 0.0, **environment: str) -> Any:
    """Runs in a process of its own.

    Args:
        slow: seconds to wait in the middle of writing a checkpoint, after its first bytes.
    """
    process = processes.Process(target=child, args=(chosen, folder, resume, slow, environment))
    process.start()
    return process


def child(chosen: Recipe, folder: Path, resume: bool, slow: float, environment: dict[str, str]) -> None:
    import signal
    import time

    import torch

    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    os.environ.update(environment)
    if slow:
        save = torch.save

        def slowly(state: Any, file: Any) -> None:
            file.write(b"half of it")
            file.flush()
            (folder / "saving").touch()
            time.sleep(slow)
            file.seek(0)
            save(state, file)

        torch.save = slowly
    from cosmotok.errors import CosmotokError
    from cosmotok.training.run import start_run

    try:
        start_run(chosen, folder, resume=resume, device="cpu")
    except CosmotokError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def start_group(chosen: Recipe, folder: Path, world: int, resume: bool = False) -> list[Any]:
    """Several processes that train together, as `accelerate launch` would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world),
        "ACCELERATE_USE_CPU": "true",
    }
    return [
        start(chosen, folder, resume, RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world), **shared)
        for rank in range(world)
    ]


def finish(*group: Any, timeout: float = 120.0) -> list[int]:
    """Waits for processes; returns their exit codes."""
    for process in group:
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in group]


def measured_peak(chosen: Recipe, folder: Path) -> int:
    """Bytes of main memory that a run takes at most, beyond what its process has before it starts."""
    import time

    import psutil

    process = start(chosen, folder)
    watched = psutil.Process(process.pid)
    wait_until, peak, base = time.monotonic() + 300, 0, None
    while process.is_alive() and time.monotonic() < wait_until:
        try:
            now = watched.memory_info().rss
        except psutil.Error:
            break
        base = now if base is None or not (folder / "recipe.yaml").exists() else base
        peak = max(peak, now)
        time.sleep(0.002)
    finish(process)
    return peak - (base or 0)
