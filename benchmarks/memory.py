"""Peak memory of encoding a long clip over that of a short one, each in a process of its own.

Target: 600 frames of 128 x 128 take at most 1.25 times the memory of 60. Other lengths may be given:

    python benchmarks/memory.py 600 86400      # half a minute against an hour
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from cosmotok.media import VideoWriter

LIMIT = 1.25
MEASURE = """
import json, resource, sys
sys.argv[0] = "cosmotok"
from cosmotok.cli import app
app(standalone_mode=False)
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def make_clip(path: Path, frames: int) -> None:
    """A moving pattern, 128 x 128."""
    y, x = np.mgrid[:128, :128]
    with VideoWriter(path, width=128, height=128, frame_rate=Fraction(24)) as writer:
        for t in range(frames):
            waves = [127 + 100 * np.sin((x * (c + 1) + y + 3 * t) / 9) for c in range(3)]
            writer.write(np.stack(waves, axis=-1).astype(np.uint8))


def peak_kib(clip: Path) -> int:
    arguments = ["encode", str(clip), "--model", "cv4x8x8-tiny", "--json", "-o", str(clip.with_suffix(".safetensors"))]
    done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def measure(lengths: tuple[int, int]) -> tuple[int, int]:
    """Peak KiB for a short and for a long clip."""
    with tempfile.TemporaryDirectory() as folder:
        clips = [Path(folder) / f"{frames}.mp4" for frames in lengths]
        for clip in clips:
            make_clip(clip, int(clip.stem))
        short, long = (peak_kib(clip) for clip in clips)
    return short, long


def main() -> None:
    lengths = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) == 3 else (60, 600)
    short, long = measure(lengths)
    print(f"peak memory: {lengths[0]} frames {short / 1024:.0f} MiB, {lengths[1]} frames {long / 1024:.0f} MiB")
    print(f"ratio {long / short:.3f}, at most {LIMIT}")
    sys.exit(0 if long <= LIMIT * short else 1)


if __name__ == "__main__":
    main()
