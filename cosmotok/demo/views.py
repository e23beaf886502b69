"""Results as HTML: a player of original and reconstruction under a slider, figures, and pictures of tokens."""

from __future__ import annotations

import base64
import io
import math
from html import escape

import numpy as np
from PIL import Image

from cosmotok.demo.clips import Result
from cosmotok.demo.texts import TEXTS, written
from cosmotok.demo.tokens import channel_pictures, code_bars, code_pictures, latent_pictures
from cosmotok.frames import DIFFERENCE_GAIN
from cosmotok.metrics.codes import CodeUsage
from cosmotok.spec import TokenizerSpec

__all__ = ["figures", "player", "token_views"]

PLAY = '<svg viewBox="0 0 19 12" width="19" height="12"><path d="M1 1v10l8-5zM12 1h2v10h-2zM16 1h2v10h-2z"/></svg>'
"""A triangle and two bars; not every font has a letter for them."""
SHOWN = 33
"""Pictures of latent frames at most, evenly over the clip."""


def player(
    kind: str,
    urls: tuple[str, str, str],
    size: tuple[int, int],
    language: str,
    names: tuple[str, str] = ("original", "copy"),
) -> str:
    """Original over reconstruction, cut by a slider, and their difference; videos play together.

    Args:
        kind: "image" or "video".
        urls: of original, reconstruction and difference.
        size: (width, height).
        names: keys of the texts on both.
    """
    text = {key: escape(words) for key, words in TEXTS[language].items()}
    left, right = text[names[0]], text[names[1]]
    shape = f'width="{size[0]}" height="{size[1]}"'

    def media(url: str, name: str, words: str) -> str:
        if kind == "image":
            return f'<img class="{name}" src="{escape(url)}" alt="{words}" {shape}>'
        return f'<video class="{name}" src="{escape(url)}" aria-label="{words}" {shape} muted loop playsinline></video>'

    controls = (
        f'<div class="controls"><button type="button" aria-label="{text["play"]}">{PLAY}</button>'
        f'<input class="place" type="range" min="0" max="1" step="any" value="0" aria-label="{text["place"]}"></div>'
    )
    difference = text["difference"].format(gain=DIFFERENCE_GAIN)
    return (
        f'<div class="player" style="--width: {size[0]}; --height: {size[1]}"><div class="pair">'
        f"{media(urls[1], 'copy', right)}{media(urls[0], 'original', left)}"
        f'<span class="left">{left}</span><span class="right">{right}</span></div>'
        f'<input class="cut" type="range" min="0" max="100" value="50" aria-label="{text["slider"]}">'
        f"{controls if kind == 'video' else ''}"
        f"<figure>{media(urls[2], 'difference', difference)}<figcaption>{difference}</figcaption></figure></div>"
    )


def figures(result: Result, language: str) -> str:
    """Sizes, quality and time."""
    report, text = result.report, TEXTS[language]
    grid = " × ".join(map(str, report.token_grid))
    psnr = "∞" if report.psnr is None or math.isinf(report.psnr) else f"{report.psnr:.2f}"
    values = {
        "tokens": f"{report.tokens:,} = {grid}",
        "compression": f"{report.compression:.1f}×",
        "bits_per_pixel": f"{report.bits_per_pixel:.3f}",
        "psnr": f"{psnr} dB",
        "ssim": "-" if report.ssim is None else f"{report.ssim:.4f}",
        "seconds": f"{report.seconds:.2f} s",
    }
    rows = "".join(
        f'<div><dt>{escape(text[key])}</dt><dd class="{key}">{written(value, language)}</dd></div>'
        for key, value in values.items()
    )
    size = f"{report.frames} × {report.width} × {report.height}"
    return f"<h3>{escape(report.model)} <small>{size}</small></h3><dl>{rows}</dl>"


def token_views(result: Result, spec: TokenizerSpec, language: str) -> str:
    """Pictures of the tokens, and below them the use of codes or the channels."""
    text, tokens = TEXTS[language], result.tokens
    chosen = sorted({round(place) for place in np.linspace(0, result.report.token_grid[0] - 1, SHOWN)})
    if spec.vocab_size is not None:
        usage = CodeUsage(spec.vocab_size)
        usage.update(tokens)
        pictures, title = code_pictures(tokens, spec.vocab_size)[chosen], text["codes"]
        words = text["usage"].format(
            used=written(f"{int((usage.histogram > 0).sum()):,}", language),
            all=written(f"{spec.vocab_size:,}", language),
            perplexity=written(f"{usage.perplexity:,.1f}", language),
        )
        below = f'<p class="usage">{words}</p>{bars(code_bars(usage.histogram), text["bars"])}'
    else:
        pictures = latent_pictures(tokens)[chosen]
        title = text["latents"].format(channels=spec.latent_channels)
        middle = result.report.token_grid[0] // 2
        channels = strip(channel_pictures(tokens, middle), spec.spatial_factor)
        below = f"<h4>{escape(text['channels'].format(frame=middle + 1))}</h4>{channels}"
    return f"<h4>{escape(title)}</h4>{strip(pictures, spec.spatial_factor)}{below}"


def strip(pictures: np.ndarray, factor: int) -> str:
    """Small pictures side by side, every token a square."""
    scale = max(1, factor // 2)
    return '<div class="strip">' + "".join(tile(picture, scale) for picture in pictures) + "</div>"


def tile(pixels: np.ndarray, scale: int) -> str:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    data = base64.b64encode(content.getvalue()).decode()
    height, width = (side * scale for side in pixels.shape[:2])
    return f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="">'


def bars(counts: list[int], label: str) -> str:
    """A histogram as SVG."""
    top = max(counts) or 1
    rects = "".join(
        f'<rect x="{place}" y="{40 - 40 * count / top:.2f}" width="0.8" height="{40 * count / top:.2f}"/>'
        for place, count in enumerate(counts)
    )
    return (
        f'<svg class="bars" viewBox="0 0 {len(counts)} 40" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{rects}</svg><p class="caption">{escape(label)}</p>'
    )
