"""Time and peak memory of loading a model over the plain way: a network of random weights, then `load_state_dict`.

Target: CV8x8x8 at its published width takes at most 0.6 of the time, and 1.2 times its weights of memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

MODEL = "CV8x8x8-720p"
TIME, MEMORY = 0.6, 1.2
RUNS = 5
LOADED = "tokenizer = Tokenizer.from_pretrained(folder)"
PLAIN = """
tensors = load_file(folder + "/model.safetensors")
tokenizer = Tokenizer(TokenizerConfig.from_dict(json.load(open(folder + "/config.json"))))
tokenizer.network.load_state_dict(tensors)
"""
SAVE = """
import sys
from cosmotok import Tokenizer
from cosmotok.config import find_model
Tokenizer(find_model(sys.argv[1]).config).save_pretrained(sys.argv[2])
"""
MEASURE = """
import json, resource, sys, time
from safetensors.torch import load_file
from cosmotok import Tokenizer, TokenizerConfig
from cosmotok.checkpoint import load
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
folder, before, begin = sys.argv[1], peak(), time.perf_counter()
{way}
seconds, memory = time.perf_counter() - begin, peak() - before
total = sum(float(weight.detach().sum()) for weight in tokenizer.network.parameters())
print(json.dumps([seconds, memory, total]))
"""


def run(program: str, *arguments: str) -> str:
    """What a program prints in a process of its own, whose peak memory is its own too: this one imports no torch."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def load(way: str, folder: str) -> tuple[float, float, float]:
    """Seconds, bytes that the process grew by, and the sum of the weights."""
    seconds, memory, total = json.loads(run(MEASURE.format(way=way), folder))
    return seconds, memory, total


def measure(model: str = MODEL, runs: int = RUNS) -> dict[str, tuple[float, float]]:
    """Least seconds, and bytes per byte of weights, of both ways: in turn, on what may be a busy machine."""
    with tempfile.TemporaryDirectory() as folder:
        run(SAVE, model, folder)
        size = (Path(folder) / "model.safetensors").stat().st_size
        ways = {"loaded": LOADED, "plain": PLAIN}
        results = [{name: load(way, folder) for name, way in ways.items()} for _ in range(runs)]
    if len({round(total, 3) for turn in results for _, _, total in turn.values()}) != 1:
        raise SystemExit("the two ways gave different weights")
    return {
        name: (min(turn[name][0] for turn in results), min(turn[name][1] for turn in results) / size) for name in ways
    }


def main() -> None:
    found = measure(sys.argv[1] if len(sys.argv) == 2 else MODEL)
    for name, (seconds, memory) in found.items():
        print(f"{name}: {seconds:.3f} s, memory {memory:.2f} of the weights")
    time = found["loaded"][0] / found["plain"][0]
    print(f"ratio of the times {time:.2f}, at most {TIME}; memory at most {MEMORY}")
    sys.exit(0 if time <= TIME and found["loaded"][1] <= MEMORY else 1)


if __name__ == "__main__":
    main()
