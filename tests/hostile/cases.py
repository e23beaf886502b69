"""Hostile cases by class: each makes its inputs in a folder from a number, and says what may be written."""

from __future__ import annotations

import json
import os
import socket
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mutations import HOSTILE_NUMBERS, HOSTILE_TEXTS, damage, damage_json
from worlds import MEDIA, MODELS, TOKENS, copy, read_safetensors, write_safetensors
from zygote import Job


@dataclass
class Case:
    """What is run, and what it may write if it succeeds."""

    job: Job
    outputs: tuple[str, ...] = ()
    refused: bool = False
    """Whether it must not succeed."""


def command(folder: Path, *arguments: object, outputs: tuple[str, ...] = (), **options: object) -> Case:
    return Case(Job([str(argument) for argument in arguments], str(folder), **options), outputs)  # type: ignore[arg-type]


def model_for(random: Random, world: Path) -> Path:
    return world / random.choice(("video", "codes", "image"))


def media(random: Random, world: Path, folder: Path) -> Case:
    """Damaged images and videos."""
    path = copy(world, random.choice(MEDIA), folder)
    path.write_bytes(damage(random, path.read_bytes()))
    if random.random() < 0.2:  # the content decides what it is
        path = path.rename(path.with_suffix(Path(random.choice(MEDIA)).suffix))
    return over(random, world, folder, path)


def over(random: Random, world: Path, folder: Path, path: Path) -> Case:
    """A verb over a media file."""
    verb, model = random.choice(("info", "reconstruct", "encode")), model_for(random, world)
    if verb == "info":
        return command(folder, verb, path.name)
    output = {"encode": "out.safetensors", "reconstruct": random.choice(("out.mp4", "out.gif", "out.png"))}[verb]
    limit = ("--max-pixels", 10**6)  # larger pictures that are sound would only take long
    return command(folder, verb, path.name, "-m", model, "-o", output, *limit, outputs=(output,))


def headers(random: Random, world: Path, folder: Path) -> Case:
    """Pictures whose headers promise what is not there: sizes, depths, tables."""
    kind = random.choice(("png", "bmp", "ppm", "gif", "tif"))
    path = folder / f"photo.{kind}"
    width, height = (random.choice((0, 1, 65535, 2**31 - 1, 30000, 7, 2**20)) for _ in range(2))
    if kind == "png":
        header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((random.choice((8, 16, 3)), 2, 0, 0, 0))
        body = zlib.compress(bytes(random.choice((10, 10**6, 10**7))))
        content = b"\x89PNG\r\n\x1a\n"
        for name, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")):
            content += len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
    elif kind == "ppm":
        content = f"P6 {width} {height} {random.choice((255, 65535, 0, 10**9))}\n".encode() + bytes(100)
    else:
        content = bytearray((world / ("moving.gif" if kind == "gif" else f"photo.{kind}")).read_bytes())
        at = {"gif": 6, "bmp": 18, "tif": random.randrange(8, len(content) - 8)}[kind]
        content[at : at + 4] = (width % 2**32).to_bytes(4, "little")
    path.write_bytes(content)
    return over(random, world, folder, path)


def tokens(random: Random, world: Path, folder: Path) -> Case:
    """Token files with damaged bytes, headers or metadata."""
    name = random.choice(TOKENS)
    path = copy(world, name, folder)
    if random.random() < 0.3:
        path.write_bytes(damage(random, path.read_bytes()))
    else:
        header, data = read_safetensors(path)
        embedded = ("size", "times", "attention_context", "chunk")
        part = header if random.random() < 0.4 else header["__metadata__"]
        text = damage_json(random, part, embedded)
        if part is not header:
            text = json.dumps({**header, "__metadata__": "@"}).replace('"@"', text)
        write_safetensors(path, text, data)
    if random.random() < 0.3:
        return command(folder, "info", path.name)
    model = ["-m", str(world / Path(name).stem)] if random.random() < 0.7 else []
    output = random.choice(("out.mp4", "out.png", "out.gif"))
    return command(folder, "decode", path.name, *model, "-o", output, outputs=(output,))


def models(random: Random, world: Path, folder: Path) -> Case:
    """Models of all formats with damaged files, configs or headers."""
    path = copy(world, random.choice(MODELS), folder)
    victim = random.choice(sorted(path.iterdir()))
    if victim.suffix == ".json":
        text = damage_json(random, json.loads(victim.read_text()))
        victim.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    elif victim.suffix == ".safetensors" and random.random() < 0.6:
        header, data = read_safetensors(victim)
        keys = [key for key in header if random.random() < 0.1 or key == "__metadata__"]
        text = damage_json(random, {key: header[key] for key in keys}, ("config",))
        kept = json.dumps({key: value for key, value in header.items() if key not in keys})
        write_safetensors(victim, kept[:-1] + ", " * (len(kept) > 2 and len(text) > 2) + text[1:], data)
    else:
        victim.write_bytes(damage(random, victim.read_bytes()))
    verb = random.choice(("info", "encode", "convert", "reconstruct"))
    if verb == "info":
        return command(folder, verb, path.name)
    if verb == "convert":
        to = random.choice(("native", "diffusers", "reference"))
        return command(folder, verb, path.name, "out", "--to", to, outputs=("out",))
    if verb == "reconstruct":  # by its default name, which the model has a say in
        copy(world, "photo.png", folder)
        return command(folder, verb, "photo.png", "-m", path.name, outputs=("photo.[!/]*.png",))
    picture = world / "photo.png"
    return command(folder, verb, picture, "-m", path.name, "-o", "out.safetensors", outputs=("out.safetensors",))


def data_sets(random: Random, world: Path, folder: Path) -> Case:
    """Data sets of tokens with a damaged manifest or damaged shards."""
    path = copy(world, "tokens", folder)
    victim = random.choice((path / "manifest.json", *sorted((path / "data").iterdir())))
    if victim.suffix == ".json" and random.random() < 0.8:
        text = damage_json(random, json.loads(victim.read_text()))
        victim.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    else:
        content = damage(random, victim.read_bytes())
        size = len(victim.read_bytes())
        victim.write_bytes(content[:size].ljust(size, b"\0") if random.random() < 0.8 else content)
    verb = random.choice(("info", "verify", "decode", "unpack"))
    if verb == "decode":
        output = random.choice(("out.mp4", "out.png"))
        more = ("--row", random.randrange(3), "-m", world / "codes", "-o", output)
        return command(folder, verb, path.name, *more, outputs=(output,))
    if verb == "unpack":
        to = random.choice(("bin", "webdataset", "safetensors"))
        return command(folder, verb, path.name, "--to", to, "-o", "out", outputs=("out",))
    return command(folder, verb, path.name)


OPTIONS = {
    "--frames": ("5:2", ":", "-1:", "a:b", "0:0", "10**9:", "1:2:3", "9" * 4000 + ":", "", "٣:", "0:1"),
    "--size": ("0x0", "1x1", "-4x4", "100000x100000", "9" * 300 + "x2", "axb", "", "16", "16x", "1e3x10", "17x31"),
    "--max-pixels": ("0", "-1", "1", "9" * 40, "1.5", "nan", ""),
    "--device": ("meta", "hpu", "lazy", "gpu", "", "cuda:99", "cpu:1", "CPU", "cpu\n", "mps", "xla", "cuda:-1"),
    "--dtype": ("int8", "float", "", "float64", "auto", "complex64"),
    "--precision": ("int4", "", "float16", "INT8", "int8"),
    "--attention-context": ("0", "-1", "all", "1.5", "9" * 30, "٣", "", "True", "1"),
    "--latent-dtype": ("int8", "", "float64", "float32"),
    "--variant": ("CV8x8x8-720p", "nothing", "", "../x", "DV4x8x8-360p"),
    "--model": (
        "nobody/none",
        "",
        ".",
        "/",
        "/dev/zero",
        "~nouser/x",
        "a" * 300,
        "no-such",
        "diffusers:",
        "klt:",
        "jpeg",
    ),
    "--to": ("native", "", "onnx", "pickle"),
    "--weights": ("best", "", "plain"),
    "--revision": ("x", ""),
    "--output": (
        "",
        ".",
        "/",
        "/dev/null",
        "no/such/out.mp4",
        "a" * 300 + ".mp4",
        "out.txt",
        "out",
        "out.mp4",
        "\ud800.mp4",
    ),
    "--json": None,
    "--side-by-side": None,
    "--no-such-option": ("1",),
}


def options(random: Random, world: Path, folder: Path) -> Case:
    """Options and arguments that no one should give."""
    verb = random.choice(("reconstruct", "encode", "decode", "info", "convert", "evaluate", "benchmark", "stats"))
    model = model_for(random, world)
    arguments: list[object] = {
        "reconstruct": [verb, copy(world, "clip.mp4", folder).name, "-m", model],
        "encode": [verb, copy(world, "clip.mp4", folder).name, "-m", model],
        "decode": [verb, copy(world, f"{model.name}.safetensors", folder).name, "-m", model],
        "info": [verb, copy(world, "photo.png", folder).name],
        "convert": [verb, model, "out"],
        "evaluate": [verb, "--data", world / "photo.png", "-m", "jpeg@q50"],
        "benchmark": [verb, "-m", model, "--rounds", "1", "--frames", "1", "--size", "16x16"],
        "stats": [verb, world / "clip.mp4", "-m", model],
    }[verb]
    for name in random.sample(sorted(OPTIONS), random.choice((1, 1, 2, 3))):
        values = OPTIONS[name]
        arguments += [name] if values is None else [name, random.choice(values)]
    if random.random() < 0.2:
        arguments.insert(random.randrange(1, len(arguments)), random.choice((*HOSTILE_TEXTS[3:], *HOSTILE_NUMBERS)))
    arguments = [str(argument).replace("\0", "") for argument in arguments]
    written = ("out", "out.mp4", "\ud800.mp4", *defaults("clip", "photo", "video", "codes", "image"))
    return command(folder, *arguments, outputs=written)


def defaults(*stems: str) -> tuple[str, ...]:
    """Names that verbs choose themselves."""
    names = ("small-4x8x8", "small-1x8x8")
    chosen = [
        f"{stem}.{name}{suffix}"
        for stem in stems
        for name in (*names, "decoded")
        for suffix in (".mp4", ".png", ".safetensors", ".side-by-side.mp4", ".side-by-side.png")
    ]
    return (*chosen, "out.side-by-side.mp4")


def names(random: Random, world: Path, folder: Path) -> Case:
    """Names of files that are no ordinary files, or no ordinary names."""
    made = {
        "pipe": lambda path: os.mkfifo(path),
        "socket": lambda path: bind(path),
        "loop": lambda path: path.symlink_to(path.name),
        "zero": lambda path: path.symlink_to("/dev/zero"),
        "full": lambda path: path.symlink_to("/dev/full"),
        "empty": lambda path: path.touch(),
        "folder": lambda path: path.mkdir(),
        "gone": lambda path: path.symlink_to("nowhere"),
    }
    suffix = random.choice((".mp4", ".png", ".safetensors", "", ".pt", ".json"))
    kind = random.choice((*made, "long", "bytes", "line", "home", "dash", "spaces", "nothing", "deep"))
    if kind in made:
        path = folder / f"strange{suffix}"
        made[kind](path)
        name = path.name
    else:
        name = {
            "long": "x" * random.choice((250, 251, 255, 256, 300, 5000)),
            "bytes": os.fsdecode(b"caf\xe9\xff"),
            "line": "two\nlines\x1b[31m",
            "home": "~nouser/x",
            "dash": "-x",
            "spaces": "  a b ",
            "nothing": "",
            "deep": "/".join(["d"] * 2000),
        }[kind] + suffix
        source = world / random.choice(("photo.png", "clip.mp4", "video.safetensors"))
        if kind in ("bytes", "line", "spaces", "dash") or (kind == "long" and len(name) < 256):
            (folder / name).write_bytes(source.read_bytes())
    picture, model = world / "photo.png", world / "image"
    shape = random.randrange(7)
    out = ("out.png", "out.safetensors", name, f"./{name}", *default_names(name))
    if kind == "gone":  # an output that is a link is written where it leads
        out += ("nowhere",)
    arguments: list[object] = [
        ["info", name],
        ["reconstruct", name, "-m", model, "-o", "out.png"],
        ["reconstruct", name, "-m", model],
        ["decode", name, "-m", model, "-o", "out.png"],
        ["encode", picture, "-m", name, "-o", "out.safetensors"],
        ["reconstruct", picture, "-m", model, "-o", name],
        ["encode", picture, "-m", model, "-o", name],
    ][shape]
    if kind == "dash":
        arguments = [arguments[0], *arguments[2:], "--", arguments[1]] if shape < 4 else arguments
    return command(folder, *arguments, outputs=out, strict=random.random() < 0.3)


def default_names(name: str) -> tuple[str, ...]:
    stem = name.rpartition(".")[0] or name
    return tuple(f"{s}.small-1x8x8{suffix}" for s in (stem, name) for suffix in (".png", ".mp4"))


def bind(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # names of sockets are short
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)
        os.close(here)


def sources(random: Random, world: Path, folder: Path) -> Case:
    """Outputs that are files the job reads, by whatever name."""
    model = copy(world, "image", folder)
    picture, stored = copy(world, "photo.png", folder), copy(world, "image.safetensors", folder)
    frames = folder / "frames"
    frames.mkdir()
    for number in range(3):
        (frames / f"f{number}.png").write_bytes(picture.read_bytes())
    weights = model / "model.safetensors"
    verb, victims = random.choice(
        (
            (["encode", picture.name, "-m", model.name], (weights,)),
            (["encode", picture.name, "-m", str(weights)], (weights,)),
            (["reconstruct", picture.name, "-m", model.name], (picture,)),
            (["reconstruct", "frames", "-m", model.name], (frames / "f0.png", frames / "f2.png")),
            (["reconstruct", "frames/f%d.png", "-m", model.name], (frames / "f1.png",)),
            (["reconstruct", "frames/*.png", "-m", model.name], (frames / "f1.png",)),
            (["decode", stored.name, "-m", model.name], (stored, weights)),
            (["convert", model.name], (model,)),
            (["convert", str(weights)], (model,)),
            (["calibrate", model.name, picture.name], (model,)),
            (["stats", picture.name, "-m", model.name], (model,)),
            (["export", model.name], (model,)),
        )
    )
    victim = random.choice(victims)
    way = random.choice(("itself", "link", "round", *(["hard"] if victim.is_file() else [])))
    output: Path = victim
    if way in ("link", "hard"):
        output = folder / f"other{victim.suffix}"
        (output.symlink_to if way == "link" else output.hardlink_to)(victim)
    elif way == "round":
        output = victim.parent / "." / ".." / victim.parent.name / victim.name
    arguments = [*verb, output] if verb[0] == "convert" else [*verb, "-o", output]
    return Case(Job([str(argument) for argument in arguments], str(folder)), refused=True)


def api(random: Random, world: Path, folder: Path) -> Case:
    """Arguments of the Python interface."""
    return Case(Job([], str(folder), call=("misuse", random.randrange(2**32))))


CLASSES: dict[str, Callable[[Random, Path, Path], Case]] = {
    function.__name__: function
    for function in (media, headers, tokens, data_sets, models, options, names, sources, api)
}
