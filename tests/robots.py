"""Writes LeRobot data sets, versions 2.1 and 3.0, as its package does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import media_samples as samples
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CAMERAS = ("observation.images.top", "observation.images.wrist")
RATE = 10


def write_robots(root: Path, version: str, lengths: tuple[int, ...] = (5, 6, 7), **changes: Any) -> Path:
    """Episodes of these lengths; the first number of the state is the frame's number among all, which the pictures
    tell too (see `samples.frame_number`), and the actions are it and its opposite."""
    recent = version.startswith("v3")
    info = {
        "codebase_version": version,
        "robot_type": "arm",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "chunks_size": 1000,
        "fps": RATE,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        if recent
        else "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        if recent
        else "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {
            **{camera: {"dtype": "video", "shape": [48, 64, 3], "names": None} for camera in CAMERAS},
            "observation.state": {"dtype": "float32", "shape": [3], "names": ["a", "b", "c"]},
            "action": {"dtype": "float64", "shape": [2, 1], "names": None},
            "next.done": {"dtype": "bool", "shape": [1], "names": None},
            **{name: {"dtype": "int64", "shape": [1]} for name in ("frame_index", "episode_index", "index")},
            "timestamp": {"dtype": "float32", "shape": [1]},
        },
    } | changes
    write(root / "meta/info.json", json.dumps(info))
    starts = np.cumsum([0, *lengths])
    facts = [
        {"episode_index": number, "tasks": [f"task {number % 2}"], "length": length}
        for number, length in enumerate(lengths)
    ]
    if not recent:
        write(root / "meta/episodes.jsonl", "".join(json.dumps(each) + "\n" for each in facts))
        for number, length in enumerate(lengths):
            numbers = range(starts[number], starts[number] + length)
            save(root / f"data/chunk-000/episode_{number:06}.parquet", [table(number, numbers)])
            for camera in CAMERAS:
                film(root / f"videos/chunk-000/{camera}/episode_{number:06}.mp4", numbers)
        return root
    for number, each in enumerate(facts):
        each |= {"data/chunk_index": 0, "data/file_index": 0, "stats/action/mean": [0.0]}
        for camera in CAMERAS:
            about = f"videos/{camera}/"
            each |= {about + "chunk_index": 0, about + "file_index": 0}
            each |= {about + "from_timestamp": starts[number] / RATE, about + "to_timestamp": starts[number + 1] / RATE}
    save(root / "meta/episodes/chunk-000/file-000.parquet", [pa.Table.from_pylist(facts)])
    tables = [table(number, range(starts[number], starts[number + 1])) for number in range(len(lengths))]
    save(root / "data/chunk-000/file-000.parquet", tables)
    for camera in CAMERAS:
        film(root / f"videos/{camera}/chunk-000/file-000.mp4", range(starts[-1]))
    return root


def table(episode: int, numbers: range) -> pa.Table:
    rows = [
        {
            "observation.state": [float(number), 0.5, -1.0],
            "action": [[float(number)], [-float(number)]],
            "next.done": number == numbers[-1],
            "timestamp": index / RATE,
            "frame_index": index,
            "episode_index": episode,
            "index": number,
        }
        for index, number in enumerate(numbers)
    ]
    return pa.Table.from_pylist(rows)


def film(path: Path, numbers: range) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [samples.solid((samples.grey_level(number),) * 3) for number in numbers]
    samples.encode(path, frames, rate=RATE, options={"preset": "ultrafast", "crf": "8", "g": "4"})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def save(path: Path, tables: list[pa.Table]) -> None:
    """Each table is a group of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, tables[0].schema) as writer:
        for each in tables:
            writer.write_table(each)
