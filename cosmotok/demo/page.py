"""The page itself: what is where, and what happens when it is clicked. The only file that imports Gradio."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from cosmotok.demo.clips import Clip, Result, read, reconstructed, scaled
from cosmotok.demo.limits import Limits
from cosmotok.demo.texts import TEXTS, language_of
from cosmotok.demo.views import figures, player, token_views
from cosmotok.errors import CosmotokError
from cosmotok.interface import BaseTokenizer
from cosmotok.media import VideoWriter, write_image
from cosmotok.pipeline import difference

__all__ = ["Page"]

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
                    inputs, run, stop = self.controls()
                with gr.Column(scale=2, min_width=320):
                    self.shown = gr.HTML(
                        css_template=(HERE / "player.css").read_text(encoding="utf-8"),
                        js_on_load=(HERE / "player.js").read_text(encoding="utf-8"),
                        elem_id="result",
                    )
            event = run.click(
                self.reconstruct, inputs, self.shown, api_visibility="private", show_progress_on=self.shown
            )
            stop.click(None, cancels=event)
        return blocks

    def controls(self) -> tuple[list[Any], gr.Button, gr.Button]:
        words = self.word
        file = gr.File(label=words("file"), file_types=["image", "video"], type="filepath", elem_id="file", height=120)
        gr.Examples(
            [[str(ASSETS / name)] for name in EXAMPLES if (ASSETS / name).is_file()],
            file,
            label=words("examples"),
            example_labels=[Path(name).name for name in EXAMPLES if (ASSETS / name).is_file()],
            api_visibility="private",
        )
        with gr.Accordion(words("camera"), open=False):
            camera = gr.Image(sources=["webcam"], type="filepath", label=words("camera"), show_label=False)
        models = gr.Dropdown(
            list(self.models), value=[self.models[0]], multiselect=True, max_choices=2, label=words("models")
        )
        size = gr.Dropdown(list(SHORT_SIDES), value=256, label=words("size"))
        most = self.limits.frames
        frames = gr.Slider(1, most, value=min(33, most), step=1, label=words("frames"))
        with gr.Row():
            run = gr.Button(words("run"), variant="primary", elem_id="run")
            stop = gr.Button(words("stop"), elem_id="stop")
        return [file, camera, models, size, frames], run, stop

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
        """What the button does. Each step is one at which it can be stopped."""
        language = language_of(request.headers.get("accept-language", ""))
        text = TEXTS[language]
        path = file or camera
        if path is None or not models:
            raise gr.Error(text["no_file" if path is None else "no_model"], print_exception=False)
        try:
            progress(0, text["reading"])
            clip = read(path, self.limits, int(frames), int(size))
            yield gr.skip()
            parts = []
            for place, name in enumerate(models):
                tokenizer = self.load(name)
                work = scaled(reconstructed(tokenizer, clip), place / len(models), (place + 1) / len(models))
                while True:
                    try:
                        progress(next(work), text["working"])
                    except StopIteration as end:
                        parts.append(self.result(end.value, tokenizer, language))
                        break
                    yield gr.skip()
        except CosmotokError as error:
            reason = str(error).replace(str(path), Path(path).name)
            raise gr.Error(text["bad_file"].format(reason=reason), print_exception=False) from None
        yield "".join(f'<section class="result">{part}</section>' for part in parts)

    def result(self, result: Result, tokenizer: BaseTokenizer, language: str) -> str:
        clip = result.clip
        changes = np.stack(
            [difference(frame.pixels, copy) for frame, copy in zip(clip.frames, result.pixels, strict=True)]
        )
        first, second, third = (self.keep(clip, pixels) for pixels in (clip.pixels, result.pixels, changes))
        size = (clip.info.width, clip.info.height)
        return (
            figures(result, language)
            + player(clip.info.kind, (first, second, third), size, language)
            + token_views(result, tokenizer.spec, language)
        )

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
