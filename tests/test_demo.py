"""`cosmotok demo`: what it computes, and the page in real Chromium as a visitor uses it."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from docs_blocks import write_clip
from PIL import Image
from web_page import CHROMIUM, picture

from cosmotok import Tokenizer
from cosmotok.demo import Limits
from cosmotok.demo.clips import encoded, opened, reconstructed
from cosmotok.demo.serve import serving
from cosmotok.demo.shown import Shown
from cosmotok.demo.texts import TEXTS, language_of, written
from cosmotok.demo.tokens import channel_pictures, code_bars, code_pictures, latent_pictures
from cosmotok.demo.what_if import (
    Changes,
    begin,
    changed,
    decoded,
    drop,
    freeze,
    rectangle,
    round_to_bits,
    shift,
    show_changed,
    swap,
)
from cosmotok.errors import InputError, MediaError, MissingExtraError
from cosmotok.media import VideoWriter

LONG = 120_000
"""Milliseconds that anything may take on a busy machine."""
MODELS = ("di8x8-tiny", "cv4x8x8-tiny")


def finished(steps):
    """The shares of work that are told, and its result."""
    shares = []
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as end:
            return shares, end.value


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(picture(140, 100)).save(folder / "picture.png")
    Image.fromarray(picture(140, 100)[::-1]).save(folder / "other.png")
    write_clip(folder / "clip.mp4", 12)
    with VideoWriter(folder / "large.mp4", width=640, height=480, frame_rate=24) as writer:
        for _ in range(40):
            writer.write(picture(640, 480))
    (folder / "notes.png").write_text("not a picture")
    return folder


def test_sizes_within_limits():
    limits = Limits(pixels=10_000)
    assert limits.size(80, 60, 256) == (80, 60)  # never up
    assert limits.size(140, 100, 50) == (70, 50)
    width, height = limits.size(4000, 2000, 720)
    assert width * height <= 10_000 and width == pytest.approx(2 * height, abs=2)
    assert limits.size(10_000, 1, 720)[1] == 1


class Seen(list):
    """What is shown: (left, right) of each frame."""

    def __call__(self, frame, left, right):
        self.append((left, right))

    def side(self, number):
        return np.stack([pair[number] for pair in self])


@pytest.mark.parametrize("name", MODELS)
def test_a_clip_through_a_tokenizer(files, name):
    tokenizer, seen = Tokenizer.from_pretrained(name), Seen()
    with opened(files / "clip.mp4", Limits(frames=9), 50, 64) as clip:
        shares, result = finished(reconstructed(tokenizer, clip, seen))
        pixels = np.stack([frame.pixels for frame in clip])
        _, again = finished(encoded(tokenizer, clip))
    assert len(seen) == 9 and min(pixels.shape[1:3]) <= 64
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1) and len(shares) > 1
    expected = tokenizer.encode(torch.from_numpy(pixels).permute(3, 0, 1, 2)[None], attention_context=32)
    assert torch.equal(result.tokens, expected) and torch.equal(again, expected)
    assert (seen.side(0) == pixels).all()
    error = np.square(seen.side(1).astype(float) - pixels).mean()
    assert result.report.psnr == pytest.approx(10 * np.log10(255**2 / error))
    assert result.report.tokens == np.prod(expected.shape[-3:])


@pytest.mark.parametrize("name", MODELS)
def test_changed_tokens_are_shown_beside_what_they_were(files, name):
    tokenizer, whole, seen = Tokenizer.from_pretrained(name), Seen(), Seen()
    with opened(files / "clip.mp4", Limits(), 10, 64) as clip:
        _, result = finished(reconstructed(tokenizer, clip, whole))
        after = drop(result.tokens, tokenizer.spec, 0.5)
        shares, changed = finished(show_changed(tokenizer, clip, decoded(tokenizer, clip, result.tokens), after, seen))
    assert len(seen) == 10 and shares[-1] == 1
    assert (seen.side(0) == whole.side(1)).all() and (seen.side(1) != whole.side(1)).any()
    assert changed.report.psnr < result.report.psnr and torch.equal(changed.tokens, after)


def test_tokens_as_they_were_are_decoded_once(files, monkeypatch):
    pytest.importorskip("gradio", minversion="6")
    from cosmotok.demo import page as module

    done, page = [], module.Page(Tokenizer.from_pretrained, MODELS, Limits())
    monkeypatch.setattr(module, "decoded", lambda *given: done.append(given) or decoded(*given))
    with opened(files / "clip.mp4", Limits(), 10, 64) as clip, opened(files / "picture.png", Limits(), 1, 64) as other:
        _, tokens = finished(encoded(page.load(MODELS[0]), clip))
        first = list(page.before(MODELS[0], clip, 10, tokens))
        assert sum(map(len, first)) >= 10
        assert list(page.before(MODELS[0], clip, 10, tokens)) == first and len(done) == 1
        monkeypatch.setattr(module, "PIXELS_KEPT", 3 * other.info.width * other.info.height)
        _, tokens = finished(encoded(page.load(MODELS[0]), other))
        list(page.before(MODELS[0], other, 1, tokens))
        list(page.before(MODELS[0], clip, 9, tokens.repeat(1, 9, 1, 1)))  # too much
        assert list(page.decoded) == [(MODELS[0], other.info, 1)]


@pytest.mark.parametrize("name", ["picture.png", "clip.mp4"])
def test_what_is_shown_is_written_while_it_comes(files, tmp_path, name):
    with opened(files / name, Limits(), 5, 64) as clip:
        with Shown(tmp_path, clip.info) as shown:
            for frame in clip:
                shown(frame, frame.pixels, frame.pixels)
        count = sum(1 for _ in clip)
        copies = [list(opened(path, Limits(), 99, 64)) for path in shown.paths]
    assert [len(frames) for frames in copies] == [count] * 3
    assert sorted(tmp_path.iterdir()) == sorted(shown.paths)
    assert np.abs(copies[2][0].pixels.astype(int) - 128).max() <= 2  # no difference: grey


def test_bad_files(files):
    with pytest.raises(MediaError, match=r"notes\.png"):
        opened(files / "notes.png", Limits(), 9, 256)
    with pytest.raises(InputError, match="at least 1"):
        opened(files / "picture.png", Limits(), 0, 256)


def test_pictures_of_indices(files):
    tokenizer = Tokenizer.from_pretrained("di8x8-tiny")
    _, indices = finished(encoded(tokenizer, opened(files / "picture.png", Limits(), 1, 256)))
    pictures = code_pictures(indices, tokenizer.spec.vocab_size)
    assert pictures.shape == (*indices.shape[1:], 3) and pictures.dtype == np.uint8
    same = indices[0] == indices[0, 0, 0, 0]
    assert (pictures[same.numpy()] == pictures[0, 0, 0]).all()
    histogram = torch.bincount(indices.flatten(), minlength=tokenizer.spec.vocab_size)
    assert sum(code_bars(histogram)) == indices.numel() and len(code_bars(histogram)) == 64
    assert code_bars(torch.tensor([3, 0, 5])) == [3, 0, 5]


def test_pictures_of_latents():
    ramp = torch.linspace(-1, 1, 12).reshape(1, 1, 1, 3, 4)
    latents = torch.cat([3 * ramp, torch.zeros(1, 4, 1, 3, 4)], 1)
    red = latent_pictures(latents)[0, ..., 0].astype(int)
    assert (np.diff(red.flatten()) > 0).all()  # the first component is the one channel that varies
    assert latent_pictures(latents)[..., 1].std() == 0
    assert latent_pictures(ramp)[..., 1:].std() == 0  # there is no second one
    channels = channel_pictures(latents, 0)
    assert channels.shape == (5, 3, 4) and channels[0].std() > 50 and channels[1].std() == 0


def test_languages():
    assert TEXTS["en"].keys() == TEXTS["pt"].keys()
    fields = [{key: set(re.findall(r"{\w+}", text)) for key, text in words.items()} for words in TEXTS.values()]
    assert fields[0] == fields[1]
    for accepted, language in {
        "pt-BR,pt;q=0.9,en;q=0.8": "pt",
        "fr,en": "en",
        "de": "en",
        "": "en",
        "PT": "pt",
    }.items():
        assert language_of(accepted) == language
    assert (written("1,234.5", "pt"), written("1,234.5", "en")) == ("1.234,5", "1,234.5")


def test_without_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # put back afterwards: Gradio would make the folder again
    with pytest.raises(MissingExtraError, match=r"cosmotok\[demo\]"), serve_here():
        pass


def serve_here(**options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return serving(
        Tokenizer.from_pretrained, MODELS, host="127.0.0.1", port=port, limits=Limits(frames=9, upload=1), **options
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pytest.importorskip("gradio", minversion="6")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # put back afterwards
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("temporary")))
        with serve_here() as address:
            yield address


def test_no_address_is_fetched(monkeypatch):
    """Where a client sends one in the place of an uploaded file."""
    gradio = pytest.importorskip("gradio", minversion="6")
    from cosmotok.demo.page import Page

    fetched = []
    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", lambda *given: fetched.append(given))
    page = Page(Tokenizer.from_pretrained, MODELS, Limits())
    takers = [
        one for one in page.blocks.blocks.values() if isinstance(one, (gradio.File, gradio.Image, gradio.ImageEditor))
    ]
    assert len(takers) == 4
    for taker in takers:
        with pytest.raises(gradio.Error, match="address"):
            asyncio.run(taker.async_move_resource_to_block_cache("https://example.org/picture.png"))
    assert not fetched


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page as a visitor of some language and screen."""
    visitors = []

    def visit(locale, width, height):
        context = browser.new_context(locale=locale, viewport={"width": width, "height": height})
        context.set_default_timeout(LONG)
        visitors.append(context)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#result video.copy")  # the page opens on an example
        return page

    yield visit
    for context in visitors:
        context.close()


def choose(page, path):
    """In the place of the example that the page opens on, or of an earlier file."""
    clear(page)
    page.set_input_files("#file input[type=file]", path)
    page.locator("#file").get_by_text(path.stem).first.wait_for()


def clear(page):
    page.locator("#file").get_by_label(re.compile("Clear|Limpar")).click()
    page.wait_for_selector("#file input[type=file]", state="attached")


def run(page, path):
    choose(page, path)
    page.click("#run")


@pytest.mark.web
def test_a_picture_and_bad_files(visit, files):
    page = visit("en-US", 1200, 900)
    clear(page)
    page.click("#run")
    page.get_by_text(TEXTS["en"]["no_file"]).first.wait_for()
    page.set_input_files("#file input[type=file]", files / "picture.png")
    page.locator("#file").get_by_text("picture").first.wait_for()
    page.click("#run")
    page.wait_for_selector("#result img.copy")
    assert page.inner_text("#result dd.tokens") == "234 = 1 × 13 × 18"
    assert float(page.inner_text("#result dd.psnr").removesuffix(" dB")) > 15
    page.wait_for_function("document.querySelector('#result .copy').naturalWidth == 140")  # once it has come
    page.focus("#result .cut")
    page.keyboard.press("Home")
    assert page.evaluate("document.querySelector('#result .pair').style.getPropertyValue('--cut')") == "0%"
    page.reload()
    page.wait_for_selector("#run")
    run(page, files / "notes.png")
    page.get_by_text("notes.png: not an image").first.wait_for()


@pytest.mark.web
def test_a_clip_on_a_phone_in_portuguese(visit, files):
    page = visit("pt-BR", 360, 740)
    assert TEXTS["pt"]["title"].removeprefix("# ") in page.inner_text("#title")
    example = page.get_attribute("#result .copy", "src")
    run(page, files / "clip.mp4")
    page.wait_for_function("old => document.querySelector('#result .copy')?.getAttribute('src') !== old", arg=example)
    assert re.fullmatch(r"\d+,\d\d dB", page.inner_text("#result dd.psnr"))
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.wait_for_function("[...document.querySelectorAll('#result video')].every(video => video.currentTime > 0)")
    page.click("#result .controls button")
    assert page.evaluate("[...document.querySelectorAll('#result video')].every(video => video.paused)")


def test_what_becomes_of_changed_tokens():
    spec = Tokenizer.from_pretrained("cv4x8x8-tiny").spec
    latents = torch.randn(1, 16, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    others = torch.zeros_like(latents[:, :, :1])
    assert torch.equal(changed(latents, None, spec, Changes()), latents)
    dropped = drop(latents, spec, 0.5) != latents
    assert 0.3 < dropped.float().mean() < 0.7 and torch.equal(dropped[0, 0], dropped[0, 5])
    assert torch.equal(drop(latents, spec, 0), latents)
    later = shift(latents, 1)
    assert torch.equal(later[:, :, 1:], latents[:, :, :-1]) and torch.equal(later[:, :, 0], latents[:, :, 0])
    assert len(round_to_bits(latents, 2)[0, 3].unique()) == 4
    assert (round_to_bits(latents, 12) - latents).abs().max() < 0.002
    swapped = swap(latents, others, rectangle(8, 10, 0.5))
    assert (swapped == 0).sum() == 16 * 3 * 4 * 6 and not swapped[..., 2:6, 2:8].any()
    painted = np.zeros((64, 80), bool)
    painted[17, 30:41] = True
    mixed = changed(latents, others, spec, Changes(painted=painted))
    assert not mixed[..., 2, 3:6].any() and (mixed != 0).sum() == mixed.numel() - 16 * 3 * 3
    begun = begin(latents, others)
    assert not begun[:, :, 0].any() and torch.equal(begun[:, :, 1:], latents[:, :, 1:])
    still = (freeze(latents, 0.5) == latents[:, :, :1]).all(2)
    assert torch.equal(still[0, 0], still[0, 7]) and 0.3 < still.float().mean() < 0.7
    assert torch.equal(freeze(latents, 0), latents)
    indices = torch.arange(60, dtype=torch.int32).reshape(1, 3, 4, 5) % 7
    discrete = Tokenizer.from_pretrained("di8x8-tiny").spec
    assert set(drop(indices, discrete, 0.9).unique().tolist()) <= set(range(7))
    assert (drop(indices, discrete, 1) == indices.flatten().mode().values).all()
    with pytest.raises(InputError, match="another picture"):
        changed(latents, None, spec, Changes(swapped=0.5))
    with pytest.raises(InputError, match="cannot be rounded"):
        changed(indices, None, discrete, Changes(bits=4))


@pytest.mark.web
def test_what_if(visit, files):
    page = visit("en-US", 1200, 900)
    choose(page, files / "picture.png")
    page.get_by_role("tab", name=TEXTS["en"]["what_if"]).click()
    page.click("#decode")
    page.wait_for_selector("#after .player")
    assert page.inner_text("#after .right") == TEXTS["en"]["changed"]
    few = float(page.inner_text("#after dd.psnr").removesuffix(" dB"))
    page.get_by_label(TEXTS["en"]["dropped"]).first.fill("90")
    page.keyboard.press("Tab")  # which decodes at once
    page.wait_for_function(
        "few => parseFloat(document.querySelector('#after dd.psnr')?.textContent ?? few) < few", arg=few
    )


@pytest.mark.web
def test_what_if_by_keyboard_alone(visit, files):
    """Keys on a slider decode once, after the last of them; to pass by one decodes nothing."""
    page = visit("en-US", 1200, 900)
    choose(page, files / "picture.png")
    page.get_by_role("tab", name=TEXTS["en"]["what_if"]).focus()
    page.keyboard.press("Enter")
    page.focus("#decode")
    page.keyboard.press("Enter")
    page.wait_for_selector("#after .player")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/queue/join" in request.url else None)
    few = float(page.inner_text("#after dd.psnr").removesuffix(" dB"))
    page.get_by_label(TEXTS["en"]["frozen"]).first.focus()
    on = "document.activeElement.type + document.activeElement.getAttribute('aria-label')"
    while not page.evaluate(on).startswith("rangerange slider for " + TEXTS["en"]["dropped"]):
        page.keyboard.press("Tab")
    page.wait_for_timeout(1000)
    assert not asked
    for _ in range(20):
        page.keyboard.press("PageUp")
    page.wait_for_function(
        "few => parseFloat(document.querySelector('#after dd.psnr')?.textContent ?? few) < few", arg=few
    )
    page.wait_for_timeout(1000)
    assert len(asked) == 1


@pytest.mark.web
def test_a_painted_region_takes_the_tokens_of_another_picture(visit, files):
    page = visit("en-US", 1200, 1400)
    choose(page, files / "picture.png")
    page.get_by_role("tab", name=TEXTS["en"]["what_if"]).click()
    page.get_by_label(TEXTS["en"]["dropped"]).first.fill("0")
    page.locator("#mix button").first.click()
    page.set_input_files("#other input[type=file]", files / "other.png")
    page.locator("#other").get_by_text("other").first.wait_for()
    page.click("#decode")
    page.wait_for_selector("#after .player")
    same = page.get_attribute("#after .copy", "src")
    box = page.locator("#painted canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 - 20, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 20, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    page.click("#decode")
    page.wait_for_function("same => document.querySelector('#after .copy')?.getAttribute('src') !== same", arg=same)


@pytest.mark.web
def test_stopped_work_leaves_nothing(visit, files, address):
    page = visit("en-US", 1200, 900)
    choose(page, files / "large.mp4")
    page.get_by_label(TEXTS["en"]["size"]).click()
    page.get_by_role("option", name="480").click()
    page.click("#run")
    page.get_by_text(TEXTS["en"]["working"]).first.wait_for()
    page.click("#run-stop")
    run(page, files / "picture.png")
    page.get_by_text("234 = 1 × 13 × 18").wait_for()
    assert not list(Path(tempfile.gettempdir()).glob("tmp*/*.mp4"))


@pytest.mark.web
def test_files_too_large_and_files_of_the_server(visit, address, files, tmp_path):
    page = visit("en-US", 1200, 900)
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(2 * 2**20)
    clear(page)
    page.set_input_files("#file input[type=file]", large)
    page.get_by_text(re.compile("exceed|too large|maximum", re.I)).first.wait_for()
    for path in ("/etc/passwd", files / "picture.png"):
        assert page.request.get(f"{address}gradio_api/file={path}").status in (403, 404)


@pytest.mark.web
def test_two_visitors_at_once_by_keyboard_alone(visit, files):
    pages = [visit("en-US", 1200, 900), visit("pt-BR", 800, 700)]
    for page in pages:
        choose(page, files / "picture.png")
        page.focus("#run")
        page.keyboard.press("Enter")
    for page in pages:
        page.get_by_text("234 = 1 × 13 × 18").wait_for()
    shown = {page.locator("#result .original").get_attribute("src") for page in pages}
    assert len(shown) == 1  # Gradio names files by their content, and theirs is the same
