"""Options that several verbs share, and what they stand for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cosmotok.defaults import ATTENTION_CONTEXT, DTYPES
from cosmotok.language import translate as _
from cosmotok.paths import as_path

if TYPE_CHECKING:
    import torch

    from cosmotok.interface import BaseTokenizer
    from cosmotok.tokenizer import Tokenizer

DEFAULT_MODEL = "cv4x8x8-tiny"

Source = Annotated[
    Path, typer.Argument(help="A video, an image, a folder of frames or a pattern such as 'f_%04d.png'.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write; by default beside the source.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Name (see `cosmotok models`), path or Hub id; diffusers:NAME or diffusers:PATH; klt:4x8x8:16.",
    ),
]
Fit = Annotated[Path | None, typer.Option(help="Folder of clips or images to fit a klt to; not those to be measured.")]
Variant = Annotated[str | None, typer.Option(help="Published name of the model, where its files do not tell.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, or auto.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, float16, or auto: bfloat16 on CUDA, else float32.")]
Precision = Annotated[str, typer.Option(help="float32, or int8: faster on CPUs with AVX-512 VNNI.")]
Frames = Annotated[str, typer.Option(help="Frames A:B of the source, counted from 0, B exclusive, e.g. 0:49 or 100:.")]
Size = Annotated[str | None, typer.Option(help="Resize the source to WxH first, e.g. 640x360.")]
MaxPixels = Annotated[int, typer.Option(help="Refuse frames of more pixels than this.")]
Context = Annotated[
    str,
    typer.Option(help="Latent frames that temporal attention looks back on: a number, or 'all' (memory grows)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]
CONTEXT = str(ATTENTION_CONTEXT)


def load(
    model: str,
    device: str = "cpu",
    dtype: str = "float32",
    variant: str | None = None,
    precision: str = "float32",
    fit: Path | None = None,
) -> BaseTokenizer:
    """The tokenizer of any family, where and as what the options say."""
    from cosmotok.baselines import is_codec
    from cosmotok.errors import InputError
    from cosmotok.families import find

    if is_codec(model) and not Path(model).exists():
        raise InputError(f"{model}: a codec, not a tokenizer; `cosmotok evaluate` and `cosmotok compare` measure it")
    place = "cpu" if device == "auto" and precision == "int8" else device_of(device)
    found = find(model, variant=variant, precision=None if precision == "float32" else precision, fit=fit)
    return found.load(place, dtype_of(dtype, place))


def load_cosmos(model: str, verb: str, variant: str | None = None, device: str = "cpu") -> Tokenizer:
    """A tokenizer for what only those of our own network can do."""
    from cosmotok.errors import InputError
    from cosmotok.families import family_of
    from cosmotok.tokenizer import Tokenizer

    tokenizer = load(model, device, variant=variant)
    if not isinstance(tokenizer, Tokenizer):
        raise InputError(f"{model}: {verb} takes a Cosmos tokenizer, and this is {family_of(model).title}")
    return tokenizer


def files_of(model: str) -> str:
    """Where the files of the model called so are, if they are here."""
    from cosmotok.checkpoint.load import BUNDLED

    return model if Path(model).exists() else str(BUNDLED / model)


def dtype_of(name: str, device: str) -> torch.dtype:
    import torch

    from cosmotok.errors import InputError

    if name not in {*DTYPES, "auto"}:
        raise InputError(f"--dtype {name}: expected {', '.join(DTYPES)} or auto")
    if name == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    return getattr(torch, name)


def device_of(name: str) -> str:
    import torch

    from cosmotok.devices import find_device

    if name != "auto":
        return str(find_device(name, "--device "))
    return "cuda" if torch.cuda.is_available() else "cpu"


def listed(text: str) -> list[str]:
    """Names with commas between."""
    return [part.strip() for part in text.split(",") if part.strip()]


def size_of(text: str | None) -> tuple[int, int] | None:
    from cosmotok.media import parse_size

    return None if text is None else parse_size(text)


def context_of(text: str) -> int | None:
    from cosmotok.errors import InputError
    from cosmotok.foreign import one_line

    if text == "all":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise InputError(
            f"--attention-context {one_line(text)}: expected a number of latent frames from 1 to 999999999, or 'all'"
        )
    return int(text)


def peek(source: Path, frames: slice, max_pixels: int) -> tuple[str, int | None]:
    """The source's name without suffix, and how many frames are to come; 0 for a still image."""
    from cosmotok.media import open_media

    with open_media(source, frames=frames, max_pixels=max_pixels) as reader:
        count = 0 if reader.info.kind == "image" else reader.info.frame_count
    name = source.resolve().name if source.is_dir() else source.stem
    if source.exists():
        return name, count
    return re.sub(r"%\d*d|[*?]", "", name).strip("._- ") or "frames", count  # a pattern


def default_output(source: Path, name: str, count: int | None) -> Path:
    return beside_or_here(source, name + (".png" if count == 0 else ".mp4"))


def beside_or_here(source: Path, name: str) -> Path:
    """`name` in the source's folder, or in this one where that cannot be written."""
    import os

    folder = source.resolve().parent
    return (source.parent if os.access(folder, os.W_OK) else Path()) / name


def is_data_set(what: str) -> bool:
    """Whether it is, or would be, a data set of `cosmotok tokenize`; its files are not opened."""
    folder = as_path(what)
    return "://" in what or (
        (folder / "manifest.json").is_file() and any((folder / name).is_dir() for name in ("data", ".plan"))
    )


def require_known(model: str, holder: str) -> None:
    """Raises TokenFileError unless the model that a file names is one whose name tells where it is."""
    from cosmotok.errors import TokenFileError
    from cosmotok.families import is_known
    from cosmotok.foreign import one_line

    if not is_known(model):
        raise TokenFileError(
            f"{holder}: made by {one_line(model)}, which is neither bundled nor published; if you trust it, name it "
            "with --model"
        )


def progress(label: str, count: int | None, unit: str | None = None) -> Any:
    """A progress bar, of an unknown number of frames if need be."""
    from cosmotok.progress import Progress

    return Progress(label, count or None, unit or _("frames"))
