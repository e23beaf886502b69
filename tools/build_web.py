"""The page without a server, as a folder for any static host: `make web`.

Exports the bundled models (kept in build/web-models, exported again when they change), puts the weights that graphs of
a model share into one file, and copies the page and what it takes from npm. Needs `npm ci` in web/ to have been run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import onnx
from onnx.external_data_helper import set_external_data

from cosmotok import Tokenizer, __version__
from cosmotok.config import find_model, list_models
from cosmotok.export import export
from cosmotok.progress import Progress

ROOT = Path(__file__).parents[1]
SOURCE, PACKAGES = ROOT / "web" / "src", ROOT / "web" / "node_modules"
LARGEST = 5_000_000
"""Bytes of a model that a visitor is asked to load."""
BUNDLED = [name for name in list_models() if find_model(name).bundled and name != "ci16x16-tiny"]
"""Those that stay below it: the weights of ci16x16-tiny alone have 7 MB."""
VENDOR = {
    "onnxruntime-web/wasm": ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"],
    "onnxruntime-web/webgpu": [
        "ort.webgpu.min.mjs",
        "ort-wasm-simd-threaded.asyncify.mjs",
        "ort-wasm-simd-threaded.asyncify.wasm",
    ],
    "mp4box": ["mp4box.all.mjs", "styp-*.mjs", "rolldown-runtime-*.mjs"],
}
"""What the page imports from npm: the file that the name stands for, and what that file needs."""
LATER = ("models/", "vendor/ort.webgpu", "vendor/ort-wasm-simd-threaded.asyncify")
"""What the service worker stores when it is first used, not when it is installed."""
SMALL = 256
"""Bytes of an initializer that stays in its graph: ONNX wants to see shapes and such."""


def exported(name: str, folder: Path) -> dict[str, Any]:
    """The manifest of `name`, exported into `folder` unless it has been."""
    tokenizer = Tokenizer.from_pretrained(name)
    manifest = folder / "manifest.json"
    if manifest.is_file():
        found = json.loads(manifest.read_text())
        if (found["fingerprint"], found["cosmotok"]) == (tokenizer.fingerprint, __version__):
            return found
    parts = ["encoder", "decoder"] if tokenizer.config.kind == "image" else ["encoder_steps", "decoder_steps"]
    with Progress(f"exporting {name}", None, "graphs") as bar:
        export(tokenizer, folder, parts=parts, precision="float16", batch=1, progress=bar.turn)
    return json.loads(manifest.read_text())


def pack(folder: Path, target: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Graphs of an export in `target`, their weights together in weights.bin; what the page has to know of them."""
    target.mkdir(parents=True)
    weights, places = bytearray(), {}
    for name, graph in manifest["graphs"].items():
        model = onnx.load(folder / graph["file"])
        for tensor in model.graph.initializer:
            content = tensor.raw_data
            if len(content) >= SMALL:
                if content not in places:
                    places[content] = len(weights)
                    weights += content + bytes(-len(content) % 16)
                set_external_data(tensor, "weights.bin", places[content], len(content))
                tensor.ClearField("raw_data")
        (target / f"{name}.onnx").write_bytes(model.SerializeToString())
    (target / "weights.bin").write_bytes(weights)
    size = sum(path.stat().st_size for path in target.iterdir())
    if size > LARGEST:
        raise SystemExit(f"{target.name}: has {size:,} bytes, more than the {LARGEST:,} that the page may ask for")
    config = manifest["config"]
    return {
        "name": target.name,
        "kind": config["kind"],
        "discrete": bool(config["levels"]),
        "spatial": config["spatial_factor"],
        "temporal": config["temporal_factor"],
        "channels": config["latent_channels"],
        "levels": config["levels"],
        "bytes": size,
        "graphs": list(manifest["graphs"]),
        "state": manifest["state"],
    }


def copy_page(target: Path) -> None:
    """The page's own files, in which names of npm's packages become addresses, and files of those packages."""
    addresses = {name: f"./vendor/{files[0]}" for name, files in VENDOR.items()}
    for path in SOURCE.iterdir():
        if path.suffix == ".js":
            text = path.read_text(encoding="utf-8")
            for name, address in addresses.items():
                text = re.sub(rf'(from |import\()"{name}"', rf'\1"{address}"', text)
            (target / path.name).write_text(text, encoding="utf-8")
        else:
            shutil.copy(path, target)
    (target / "vendor").mkdir()
    for name, files in VENDOR.items():
        package = PACKAGES / name.partition("/")[0]
        for pattern in files:
            found = list((package / "dist").glob(pattern))
            if not found:
                raise SystemExit(f"{package}: has no {pattern}; run npm ci in web/")
            for path in found:
                shutil.copy(path, target / "vendor")
        for licence in package.glob("LICENSE*"):
            shutil.copy(licence, target / "vendor" / f"{package.name}.LICENSE")


def seal(target: Path) -> None:
    """The list of what the service worker stores, and the version by which it knows that something has changed."""
    paths = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    version = hashlib.sha256()
    for path in paths:
        version.update(path.encode() + (target / path).read_bytes())
    first = [path for path in paths if not path.startswith(LATER) and path != "sw.js"]
    (target / "files.json").write_text(json.dumps(["", *first, "models/index.json"]))
    worker = target / "sw.js"
    worker.write_text(worker.read_text(encoding="utf-8").replace("BUILD", version.hexdigest()[:16]), encoding="utf-8")


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "web")
    parser.add_argument("--models", nargs="+", default=BUNDLED, choices=BUNDLED, metavar="NAME")
    arguments = parser.parse_args(words)
    exports = ROOT / "build" / "web-models"
    manifests = {name: exported(name, exports / name) for name in arguments.models}
    target = arguments.output
    shutil.rmtree(target, ignore_errors=True)
    (target / "models").mkdir(parents=True)
    entries = [pack(exports / name, target / "models" / name, manifest) for name, manifest in manifests.items()]
    (target / "models" / "index.json").write_text(json.dumps(entries))
    copy_page(target)
    seal(target)
    for entry in entries:
        print(f"{entry['name']}: {entry['bytes'] / 1e6:.1f} MB")
    print(f"{target}: python -m http.server --directory {target}")


if __name__ == "__main__":
    main()
