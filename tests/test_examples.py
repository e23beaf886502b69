"""The examples that train on tokens, shortened: losses fall, and what they draw can be opened."""

import os
import re
import subprocess
import sys
from pathlib import Path

import media_samples as samples
import pytest
from PIL import Image

from cosmotok.media import open_media

ROOT = Path(__file__).parents[1]


def run(name: str, output: Path, steps: int, data: Path | None = None) -> tuple[list[float], str]:
    """Runs an example; the losses that it printed, and all that it printed."""
    options = ["--steps", str(steps), "--output", str(output), *(["--data", str(data)] if data else [])]
    done = subprocess.run(
        [sys.executable, str(ROOT / f"examples/{name}.py"), *options],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [float(loss) for loss in re.findall(r"step +\d+ +loss ([\d.]+)", done.stdout)], done.stdout


@pytest.mark.slow
def test_flow_matching_draws_pictures(tmp_path):
    pytest.importorskip("diffusers")
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(samples.waves(1, 96, 128)[0]).save(photos / "waves.png")
    losses, _ = run("flow_matching", tmp_path / "out", 20, photos)
    assert len(losses) == 10 and losses[-1] < losses[0]
    with Image.open(tmp_path / "out/samples.png") as picture:
        assert picture.size == (8 * 64, 4 * 64)
        assert len(picture.getcolors(2**20) or ()) > 100


@pytest.mark.slow
def test_an_autoregressive_model_continues_clips(tmp_path):
    pytest.importorskip("transformers")
    clips = tmp_path / "clips"
    clips.mkdir()
    samples.encode(clips / "waves.mp4", samples.waves(8 * 17, 64, 64), rate=30)
    losses, printed = run("autoregressive", tmp_path / "out", 20, clips)
    assert len(losses) == 10 and losses[-1] < losses[0]
    assert "8 clips of 326 words" in printed  # 5 x (8 x 8 codes and the token before them), and the end
    for name in ("trained", "held-out"):
        with open_media(tmp_path / f"out/{name}.mp4") as clip:
            frames = [frame.pixels for frame in clip]
        assert len(frames) == 17
        halves = [abs(frame[:, :256].astype(int) - frame[:, 256:]).mean() for frame in frames]
        assert max(halves[:5]) < 2 < max(halves[5:])  # two latent frames are given, 5 frames


@pytest.mark.slow
def test_a_world_model_learns_what_actions_do(tmp_path):
    losses, printed = run("action_conditioned", tmp_path / "out", 200)
    assert len(losses) == 10 and losses[-1] < losses[0] / 2
    found = re.search(r"held out: loss ([\d.]+) with its own actions, ([\d.]+) with", printed)
    assert found is not None and float(found[1]) < float(found[2])
    with open_media(tmp_path / "out/rollout.mp4") as clip:
        assert len(list(clip)) == 17
