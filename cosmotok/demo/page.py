"""The page itself: what is where, and what happens when it is clicked. With `uploads`, what imports Gradio."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import numpy as np

from cosmotok.demo.clips import Clip, Steps, read, reconstructed, scaled
from cosmotok.demo.limits import Limits
from cosmotok.demo.texts import TEXTS, language_of
from cosmotok.demo.uploads import uploads_only
from cosmotok.demo.views import figures, player, token_views
from cosmotok.demo.what_if import AS_IT_IS, Changes, what_if
from cosmotok.errors import CosmotokError
from cosmotok.interface import BaseTokenizer
from cosmotok.media import VideoWriter, write_image
from cosmotok.pipeline import difference

__all__ = ["Page"]

R = TypeVar("R")
HERE = Path(__file__).parent
ASSETS = Path(gr.__file__).parent / "media_assets"
EXAMPLES = ("videos/world.mp4", "images/lion.jpg", "images/bus.png", "images/tower.jpg")
"""Files that come with Gradio."""
SHORT_SIDES = (128, 256, 360, 480, 720)
KEY = "cosmotok_"
"""Before the names of our texts, since Gradio has texts of its own."""
MODELS_KEPT = 3
"""In memory at a time."""
CLEAN = (1800, 3600)
"""Every so many seconds, files of visitors older than so many go."""
CLEAR = 12
"""Quality (CRF) of the videos shown: what one sees is the tokenizer's doing, not H.264's."""


class Page:
    """A page for visitors, as Gradio's blocks.

    Args:
        load: a tokenizer by its name.
        models: names that visitors can choose; others are refused.
        limits: of what they upload.
    """

    def __init__(self, load: Callable[[str], BaseTokenizer], models: Sequence[str], limits: Limits) -> None:
        self.load = lru_cache(maxsize=MODELS_KEPT)(load)
        self.models, self.limits = models, limits
        named = {language: {KEY + key: text for key, text in words.items()} for language, words in TEXTS.items()}
        self.words = gr.I18n(**named, **{"pt-BR": named["pt"]})
        self.blocks = self.build()

    def word(self, key: str) -> Any:
        """A text in the language of whoever looks at it."""
        return self.words(KEY + key)

    def build(self) -> gr.Blocks:
        words = self.word
        with gr.Blocks(title="cosmotok", analytics_enabled=False, delete_cache=CLEAN) as blocks:
            gr.Markdown(words("title"), elem_id="title")
            gr.Markdown(words("intro"))
            with gr.Row():
                with gr.Column(scale=1, min_width=280):
                    inputs = self.inputs()
                with gr.Column(scale=2, min_width=320), gr.Tabs():
                    with gr.Tab(words("reconstruct")):
                        self.shown = self.action("run", self.reconstruct, inputs, "result")
                    with gr.Tab(words("what_if"), elem_id="what-if"):
                        gr.Markdown(words("what_if_intro"))
                        self.action("decode", self.what_if, inputs + self.changes(), "after")
        return blocks

    def inputs(self) -> list[Any]:
        words = self.word
        file = uploads_only(
            gr.File(label=words("file"), file_types=["image", "video"], type="filepath", elem_id="file", height=120)
        )
        gr.Examples(
            [[str(ASSETS / name)] for name in EXAMPLES if (ASSETS / name).is_file()],
            file,
            label=words("examples"),
            example_labels=[Path(name).name for name in EXAMPLES if (ASSETS / name).is_file()],
            api_visibility="private",
        )
        with gr.Accordion(words("camera"), open=False):
            camera = uploads_only(
                gr.Image(sources=["webcam"], type="filepath", label=words("camera"), show_label=False)
            )
        models = gr.Dropdown(
            list(self.models), value=[self.models[0]], multiselect=True, max_choices=2, label=words("models")
        )
        size = gr.Dropdown(list(SHORT_SIDES), value=256, label=words("size"))
        most = self.limits.frames
        frames = gr.Slider(1, most, value=min(33, most), step=1, label=words("frames"))
        return [file, camera, models, size, frames]

    def changes(self) -> list[Any]:
        words = self.word
        with gr.Row():
            dropped = gr.Slider(0, 100, value=25, step=1, label=words("dropped"), min_width=220)
            shifted = gr.Slider(0, 8, value=0, step=1, label=words("shifted"), min_width=220)
            bits = gr.Slider(1, AS_IT_IS, value=AS_IT_IS, step=1, label=words("bits"), min_width=220)
        with gr.Row():
            other = uploads_only(
                gr.File(
                    label=words("other"), file_types=["image", "video"], type="filepath", elem_id="other", height=120
                )
            )
            swapped = gr.Slider(0, 100, value=0, step=1, label=words("swapped"), min_width=220)
        return [other, swapped, dropped, shifted, bits]

    def action(self, name: str, does: Callable[..., Any], inputs: list[Any], result: str) -> gr.HTML:
        """A button, one that stops it, and below them what comes of it."""
        with gr.Row():
            run = gr.Button(self.word(name), variant="primary", elem_id=name)
            stop = gr.Button(self.word("stop"), elem_id=f"{name}-stop")
        shown = gr.HTML(
            css_template=(HERE / "player.css").read_text(encoding="utf-8"),
            js_on_load=(HERE / "player.js").read_text(encoding="utf-8"),
            elem_id=result,
        )
        event = run.click(does, inputs, shown, api_visibility="private", concurrency_id="work")
        stop.click(None, cancels=event)
        return shown

    def reconstruct(
        self,
        file: str | None,
        camera: str | None,
        models: list[str],
        size: int,
        frames: int,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio is told
    ) -> Iterator[Any]:
        """What the first tab does. Each step is one at which it can be stopped."""
        language, path = asked(request, file, camera, models)
        with told(language, path):
            progress(0, TEXTS[language]["reading"])
            clip = read(path, self.limits, int(frames), int(size))
            yield gr.skip()
            parts = []
            for place, name in enumerate(models):
                tokenizer = self.load(name)
                work = scaled(reconstructed(tokenizer, clip), place / len(models), (place + 1) / len(models))
                result = yield from step_by_step(work, progress, language)
                shown = self.compared(clip, clip.pixels, result.pixels, language)
                parts.append(figures(result, language) + shown + token_views(result, tokenizer.spec, language))
        yield "".join(f'<section class="result">{part}</section>' for part in parts)

    def what_if(
        self,
        file: str | None,
        camera: str | None,
        models: list[str],
        size: int,
        frames: int,
        other: str | None,
        swapped: int,
        dropped: int,
        shifted: int,
        bits: int,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio is told
    ) -> Iterator[Any]:
        """What the second tab does."""
        language, path = asked(request, file, camera, models)
        with told(language, path, other):
            progress(0, TEXTS[language]["reading"])
            clip = read(path, self.limits, int(frames), int(size))
            yield gr.skip()
            second = None
            if other is not None and swapped:
                second = read(other, self.limits, int(frames), int(size), (clip.info.width, clip.info.height))
            changes = Changes(swapped / 100, dropped / 100, int(shifted), int(bits))
            tokenizer = self.load(models[0])
            before, after = yield from step_by_step(what_if(tokenizer, clip, second, changes), progress, language)
            shown = self.compared(clip, before.pixels, after.pixels, language, ("copy", "changed"))
        yield figures(after, language) + shown + token_views(after, tokenizer.spec, language)

    def compared(
        self,
        clip: Clip,
        left: np.ndarray,
        right: np.ndarray,
        language: str,
        names: tuple[str, str] = ("original", "copy"),
    ) -> str:
        """A player of two versions of a clip, (T, H, W, 3) in uint8."""
        changes = np.stack([difference(a, b) for a, b in zip(left, right, strict=True)])
        first, second, third = (self.keep(clip, pixels) for pixels in (left, right, changes))
        size = (clip.info.width, clip.info.height)
        return player(clip.info.kind, (first, second, third), size, language, names)

    def keep(self, clip: Clip, pixels: np.ndarray) -> str:
        """The address of frames (T, H, W, 3), uint8, as a picture or video among the files that Gradio clears away."""
        with tempfile.TemporaryDirectory() as folder:
            if clip.info.kind == "image":
                path = Path(folder) / "picture.png"
                write_image(path, pixels[0])
            else:
                path = Path(folder) / "clip.mp4"
                height, width = pixels.shape[1:3]
                rate = clip.info.frame_rate or Fraction(24)
                with VideoWriter(path, width=width, height=height, frame_rate=rate, crf=CLEAR) as writer:
                    for frame, picture in zip(clip.frames, pixels, strict=True):
                        writer.write(picture, frame.time)
            return f"gradio_api/file={self.shown.move_resource_to_block_cache(path)}"


def asked(request: gr.Request, file: str | None, camera: str | None, models: Sequence[str]) -> tuple[str, str]:
    """The visitor's language, and the path of what is to be worked on."""
    language = language_of(request.headers.get("accept-language", ""))
    path = file or camera
    if path is None or not models:
        raise gr.Error(TEXTS[language]["no_file" if path is None else "no_model"], print_exception=False)
    return language, path


@contextmanager
def told(language: str, *paths: str | None) -> Iterator[None]:
    """Tells the visitor of our errors, with names of files rather than their paths here."""
    try:
        yield
    except CosmotokError as error:
        reason = str(error)
        for path in filter(None, paths):
            reason = reason.replace(path, Path(path).name)
        raise gr.Error(TEXTS[language]["bad_file"].format(reason=reason), print_exception=False) from None


def step_by_step(work: Steps[R], progress: gr.Progress, language: str) -> Generator[Any, None, R]:
    """Work whose steps the visitor sees, and between which it can be stopped."""
    while True:
        try:
            share = next(work)
        except StopIteration as end:
            return end.value
        progress(share, TEXTS[language]["working"])
        yield gr.skip()
