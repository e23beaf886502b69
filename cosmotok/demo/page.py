"""The page itself: what is where, and what happens when it is clicked. With `uploads`, what imports Gradio."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from torch import Tensor

from cosmotok.demo.clips import Result, Show, Steps, encoded, opened, reconstructed, scaled
from cosmotok.demo.limits import Limits
from cosmotok.demo.shown import Shown
from cosmotok.demo.texts import TEXTS
from cosmotok.demo.uploads import uploads_only
from cosmotok.demo.views import figures, player, token_views
from cosmotok.demo.visit import Visit
from cosmotok.demo.what_if import AS_IT_IS, Changes, changed, decoded, show_changed
from cosmotok.errors import CosmotokError
from cosmotok.interface import BaseTokenizer
from cosmotok.media import MediaReader

__all__ = ["KEYS", "Page"]

HERE = Path(__file__).parent
KEYS = (HERE / "keys.js").read_text(encoding="utf-8")
"""What the page runs as it opens."""
ASSETS = Path(gr.__file__).parent / "media_assets"
EXAMPLES = ("videos/world.mp4", "images/lion.jpg", "images/bus.png", "images/tower.jpg")
"""Files that come with Gradio. The page opens on the first."""
SHORT_SIDES = (128, 256, 360, 480, 720)
KEY = "cosmotok_"
"""Before the names of our texts, since Gradio has texts of its own."""
MODELS_KEPT, TOKENS_KEPT = 3, 6
"""In memory at a time; tokens of so many clips."""
PIXELS_KEPT = 100_000_000
"""Bytes of what was decoded from tokens as they were, in memory at a time."""
PAINT = "#e8590c"
CLEAN = (1800, 3600)
"""Every so many seconds, files of visitors older than so many go."""


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
        self.kept: OrderedDict[Any, Tensor] = OrderedDict()
        self.decoded: OrderedDict[Any, list[np.ndarray]] = OrderedDict()
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
                        run, stop, self.shown = self.action("run", "result")
                    with gr.Tab(words("what_if"), elem_id="what-if"):
                        gr.Markdown(words("what_if_intro"))
                        changes = self.changes()
                        decode, stop_decoding, after = self.action("decode", "after")
            work: dict[str, Any] = {
                "api_visibility": "private",
                "concurrency_id": "work",
                "trigger_mode": "multiple",  # the others take no further click after one that was stopped
            }
            first = gr.on([blocks.load, run.click], self.reconstruct, inputs, self.shown, **work)
            stop.click(None, cancels=first)
            at_once = [change.release if isinstance(change, gr.Slider) else change.change for change in changes[:-1]]
            second = gr.on([decode.click, *at_once], self.what_if, inputs + changes, after, **work)
            stop_decoding.click(None, cancels=second)
            file, camera, _, size, _ = inputs
            gr.on(
                [blocks.load, file.change, camera.change, size.change],
                self.first_frame,
                [file, camera, size],
                self.canvas,
                api_visibility="private",
                show_progress="hidden",
            )
        return blocks

    def inputs(self) -> list[Any]:
        words = self.word
        examples = [ASSETS / name for name in EXAMPLES if (ASSETS / name).is_file()]
        file = self.upload("file", str(examples[0]) if examples else None)
        gr.Examples(
            [[str(path)] for path in examples],
            file,
            label=words("examples"),
            example_labels=[path.name for path in examples],
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

    def upload(self, name: str, value: str | None = None) -> gr.File:
        """A picture or video of the visitor's; at first the file `value`."""
        kinds = ["image", "video"]
        label = self.word(name)
        return uploads_only(
            gr.File(value=value, label=label, file_types=kinds, type="filepath", elem_id=name, height=120)
        )

    def changes(self) -> list[Any]:
        words = self.word
        with gr.Row():
            frozen = gr.Slider(0, 100, value=0, step=1, label=words("frozen"), min_width=220)
            dropped = gr.Slider(0, 100, value=25, step=1, label=words("dropped"), min_width=220)
            shifted = gr.Slider(0, 8, value=0, step=1, label=words("shifted"), min_width=220)
            bits = gr.Slider(1, AS_IT_IS, value=AS_IT_IS, step=1, label=words("bits"), min_width=220)
        with gr.Accordion(words("mix"), open=False, elem_id="mix"):
            other = self.upload("other")
            swapped = gr.Slider(0, 100, value=0, step=1, label=words("swapped"))
            begun = gr.Checkbox(label=words("begun"))
            gr.Markdown(words("painted"))
            self.canvas = uploads_only(
                gr.ImageEditor(
                    show_label=False,
                    type="numpy",
                    sources=(),
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(default_size=24, colors=[PAINT], default_color=PAINT, color_mode="fixed"),
                    elem_id="painted",
                )
            )
        return [frozen, dropped, shifted, bits, other, swapped, begun, self.canvas]

    def action(self, name: str, result: str) -> tuple[gr.Button, gr.Button, gr.HTML]:
        """A button, one that stops it, and below them what comes of it."""
        with gr.Row():
            run = gr.Button(self.word(name), variant="primary", elem_id=name)
            stop = gr.Button(self.word("stop"), elem_id=f"{name}-stop")
        shown = gr.HTML(
            css_template=(HERE / "player.css").read_text(encoding="utf-8"),
            js_on_load=(HERE / "player.js").read_text(encoding="utf-8"),
            elem_id=result,
        )
        return run, stop, shown

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
        visit = Visit(request, progress)
        path = visit.asked(file, camera, models)
        with visit.told(path), opened(path, self.limits, int(frames), int(size)) as clip:
            parts = []
            for place, name in enumerate(models):
                tokenizer = self.load(name)
                span = (place / len(models), (place + 1) / len(models))
                work = partial(reconstructed, tokenizer, clip)
                parts.append((yield from self.section(visit, tokenizer, clip, work, span, ("original", "copy"))))
        yield "".join(f'<section class="result">{part}</section>' for part in parts)

    def what_if(
        self,
        file: str | None,
        camera: str | None,
        models: list[str],
        size: int,
        frames: int,
        frozen: int,
        dropped: int,
        shifted: int,
        bits: int,
        other: str | None,
        swapped: int,
        begun: bool,
        canvas: dict[str, Any] | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio is told
    ) -> Iterator[Any]:
        """What the second tab does."""
        visit = Visit(request, progress)
        path = visit.asked(file, camera, models)
        changes = Changes(
            painted_in(canvas), swapped / 100, begun, frozen / 100, dropped / 100, int(shifted), int(bits)
        )
        with visit.told(path, other), opened(path, self.limits, int(frames), int(size)) as clip:
            tokenizer = self.load(models[0])
            tokens = yield from self.tokens(visit, models[0], clip, frames, (0, 0.2))
            others = None
            if other is not None and changes.needs_other:
                same = (clip.info.width, clip.info.height)
                with opened(other, self.limits, int(frames), int(size), same) as second:
                    others = yield from self.tokens(visit, models[0], second, frames, (0.2, 0.4))
            after = changed(tokens, others, tokenizer.spec, changes)
            work = partial(show_changed, tokenizer, clip, self.before(models[0], clip, frames, tokens), after)
            shown = yield from self.section(visit, tokenizer, clip, work, (0.4, 1), ("copy", "changed"))
        yield shown

    def tokens(
        self, visit: Visit, name: str, clip: MediaReader, frames: int, span: tuple[float, float]
    ) -> Generator[Any, None, Tensor]:
        """A clip's tokens, those of the last few kept: while a visitor tries one change after another, they are the
        same. Gradio names uploads by their content."""
        key = (name, clip.info, frames)
        if key not in self.kept:
            self.kept[key] = yield from visit.step_by_step(scaled(encoded(self.load(name), clip), *span))
        self.kept.move_to_end(key)
        while len(self.kept) > TOKENS_KEPT:
            self.kept.popitem(last=False)
        return self.kept[key]

    def before(self, name: str, clip: MediaReader, frames: int, tokens: Tensor) -> Iterator[np.ndarray]:
        """What is decoded from a clip's tokens, in pieces. They are kept, as `tokens` are."""
        key = (name, clip.info, frames)
        if key in self.decoded:
            self.decoded.move_to_end(key)
            yield from self.decoded[key]
            return
        pieces: list[np.ndarray] = []
        for piece in decoded(self.load(name), clip, tokens):
            if bytes_of(pieces) <= PIXELS_KEPT:
                pieces.append(piece)
            yield piece
        if bytes_of(pieces) <= PIXELS_KEPT:
            self.decoded[key] = pieces
        while sum(map(bytes_of, self.decoded.values())) > PIXELS_KEPT:
            self.decoded.popitem(last=False)

    def section(
        self,
        visit: Visit,
        tokenizer: BaseTokenizer,
        clip: MediaReader,
        work: Callable[[Show], Steps[Result]],
        span: tuple[float, float],
        names: tuple[str, str],
    ) -> Generator[Any, None, str]:
        """Figures, a player of what the work shows, and pictures of the tokens."""
        with tempfile.TemporaryDirectory() as folder:
            with Shown(Path(folder), clip.info) as shown:
                result = yield from visit.step_by_step(scaled(work(shown), *span))
            first, second, third = map(self.address, shown.paths)
        size = (clip.info.width, clip.info.height)
        seen = player(clip.info.kind, (first, second, third), size, visit.language, names)
        return figures(result, visit.language) + seen + token_views(result, tokenizer.spec, visit.language)

    def address(self, path: Path) -> str:
        """Of a file, once it is among those that Gradio clears away."""
        return f"gradio_api/file={self.shown.move_resource_to_block_cache(path)}"

    def first_frame(self, file: str | None, camera: str | None, size: int) -> dict[str, Any] | None:
        """What is painted on; nothing where there is no file that can be read, which the buttons tell of."""
        try:
            with opened(file or camera or "", self.limits, 1, int(size)) as clip:
                return {"background": next(iter(clip)).pixels, "layers": [], "composite": None}
        except CosmotokError:
            return None


def bytes_of(pieces: list[np.ndarray]) -> int:
    return sum(piece.nbytes for piece in pieces)


def painted_in(canvas: dict[str, Any] | None) -> np.ndarray | None:
    """(H, W), bool: where something was painted on it."""
    layers = [layer[..., 3] > 0 for layer in (canvas or {}).get("layers", ())]
    return np.logical_or.reduce(layers) if layers else None
