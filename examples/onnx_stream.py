"""A stream through exported graphs by hand, with ONNX Runtime and numpy alone: raw RGB frames in, their copies out.

cosmotok export cv4x8x8-tiny -o out --part encoder_steps --part decoder_steps
ffmpeg -i clip.mp4 -f rawvideo -pix_fmt rgb24 -s 256x256 - | python examples/onnx_stream.py out 256x256 > copy.rgb
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder, (width, height) = Path(sys.argv[1]), map(int, sys.argv[2].split("x"))
manifest = json.loads((folder / "manifest.json").read_text())
graphs = {name: onnxruntime.InferenceSession(folder / graph["file"]) for name, graph in manifest["graphs"].items()}
state = {"encoder": {}, "decoder": {}}


def step(half, name, data):
    feed = {name: data}
    if state[half]:
        feed["attention_context"] = np.array(manifest["attention_context_for_all"])
    graph = graphs[f"{half}_next" if state[half] else f"{half}_first"]
    result, *present = graph.run(None, feed | state[half])
    names = ["past." + part["name"] for part in manifest["state"][half]]
    state[half] = dict(zip(names, present, strict=True))
    return result


count = 1  # the first frame by itself, then a group for each latent frame
while data := sys.stdin.buffer.read(count * height * width * 3):
    pixels = np.frombuffer(data, np.uint8).reshape(1, -1, height, width, 3)
    frames = np.pad(pixels, ((0, 0), (0, count - pixels.shape[1]), (0, 0), (0, 0), (0, 0)), "edge")
    tokens = step("encoder", "frames", frames.transpose(0, 4, 1, 2, 3) / np.float32(127.5) - 1)
    copy = step("decoder", "tokens", tokens).transpose(0, 2, 3, 4, 1)[:, : pixels.shape[1]]
    sys.stdout.buffer.write(((copy.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8).tobytes())
    count = manifest["config"]["temporal_factor"]
