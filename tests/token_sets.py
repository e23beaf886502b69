"""Data sets of tokens of made-up rows, as `cosmotok tokenize` would write them: their key is their number."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from cosmotok.dataset import rows as rows_module
from cosmotok.dataset.manifest import Counts, Manifest, Shard, Statistics
from cosmotok.dataset.options import Options
from cosmotok.dataset.rows import RowFile
from cosmotok.dataset.schema import SIGNAL, LatentDtype, pack, row_schema
from cosmotok.spec import TokenizerSpec

DISCRETE = TokenizerSpec("dv4x8x8-made", 8, 4, latent_channels=6, vocab_size=64_000)
CONTINUOUS = TokenizerSpec("cv4x8x8-made", 8, 4)
MEAN, STD = tuple(channel / 4 for channel in range(16)), tuple(1 + channel / 8 for channel in range(16))


def tokens_of(number: int, spec: TokenizerSpec, frames: int, height: int, width: int) -> torch.Tensor:
    """The tokens of a row."""
    grid = spec.grid(frames, height, width)
    rng = np.random.default_rng(number)
    if spec.is_discrete:
        return torch.from_numpy(rng.integers(0, 64_000, grid)).int()
    return torch.from_numpy(rng.standard_normal((spec.latent_channels, *grid), dtype=np.float32))


def write_set(
    folder: Path,
    shards: Sequence[int],
    *,
    spec: TokenizerSpec = DISCRETE,
    dtype: LatentDtype = "float16",
    sizes: Sequence[tuple[int, int, int]] = ((5, 16, 24),),
    group: int = 4,
    signals: bool = False,
    model: str = "made-up",
    fingerprint: str = "0123456789abcdef",
) -> Path:
    """A data set of shards of so many rows, in groups of `group`; sizes (T, H, W) take turns."""
    shapes = {"action": (2,)} if signals else {}
    (folder / "data").mkdir(parents=True)
    made, number, counts = [], 0, Counts()
    for index, count in enumerate(shards):
        with (
            io.FileIO(folder / f"data/00000-{index:05}.parquet", "w+b") as file,
            patch.object(rows_module, "GROUP_ROWS", group),
        ):
            rows = RowFile(file, row_schema(spec, dtype, shapes))
            for _ in range(count):
                frames, height, width = sizes[number % len(sizes)]
                packed = pack(tokens_of(number, spec, frames, height, width), spec, dtype)
                action = np.stack([np.arange(frames), np.full(frames, number)], 1).astype(np.float32)
                rows.write(
                    {
                        "key": f"clip-{number}",
                        "segment": 0,
                        "stamp": "1",
                        **packed,
                        **{"frames": frames, "height": height, "width": width},
                        **{"original_height": 2 * height, "original_width": 2 * width},
                        "first_frame": 7,
                        "start": 0.5,
                        "frame_rate": None if frames == 1 else 8.0,
                        "times": [0.0, 0.2, 0.3, 0.4, 0.9] if frames == 5 and number % 2 else None,
                        "caption": f"clip {number}" if number % 3 else None,
                        "metadata": json.dumps({"number": number}),
                        **({SIGNAL + "action": action.ravel()} if number != 1 else {}),
                    }
                )
                counts += Counts(1, 1, 0, 0, 1, frames, int(np.prod(spec.grid(frames, height, width))))
                number += 1
            rows.close()
        data = (folder / f"data/00000-{index:05}.parquet").read_bytes()
        made.append(Shard(f"data/00000-{index:05}.parquet", count, len(data), hashlib.sha256(data).hexdigest()))
    manifest = Manifest(
        model=model,
        fingerprint=fingerprint,
        spec=spec,
        latent_dtype=dtype,
        options=Options(latent_dtype=dtype).record(),
        sources=("clips",),
        signals=shapes,
        counts=counts + Counts(bytes=sum(shard.bytes for shard in made)),
        statistics=None if spec.is_discrete else Statistics(MEAN, STD),
        shards=tuple(made),
        complete=True,
    )
    (folder / "manifest.json").write_text(manifest.dump())
    return folder
