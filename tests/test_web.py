"""The page of web/ as a visitor uses it: real Chromium, no network but its own server."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
from docs_blocks import write_clip
from PIL import Image
from web_page import CHROMIUM, build, picture, served

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.web, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

LONG = 120_000
"""Milliseconds that anything may take on a busy machine."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(build(tmp_path_factory.mktemp("web") / "page")) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser):
    """A visitor who comes back, so that what was loaded once is there."""
    context = browser.new_context(locale="en-US", viewport={"width": 1200, "height": 900})
    context.set_default_timeout(LONG)
    yield context
    context.close()


@pytest.fixture
def page(context, address):
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(error))
    elsewhere = []
    page.on("request", lambda request: elsewhere.append(request.url) if is_elsewhere(request.url, address) else None)
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    yield page
    page.close()
    assert not wrong
    assert not elsewhere


def is_elsewhere(url: str, address: str) -> bool:
    return not url.startswith((address, "blob:", "data:"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(picture(140, 100)).save(folder / "picture.png")
    write_clip(folder / "clip.mp4", 9)
    (folder / "notes.png").write_text("not a picture")
    (folder / "broken.mp4").write_bytes((folder / "clip.mp4").read_bytes()[:300])
    return folder


def figure(page, name: str) -> float:
    return float(re.match(r"[\d.,]+", page.inner_text(f"#{name}"))[0].replace(",", ""))


def show(page, path, done="Done."):
    page.set_input_files("#file", path)
    page.wait_for_function("text => document.getElementById('status').textContent === text", arg=done)


def pixels(page, name: str) -> np.ndarray:
    """What a canvas shows, (height, width, 4)."""
    width, height, data = page.evaluate(
        """id => { const canvas = document.getElementById(id), { width, height } = canvas;
        return [width, height, [...canvas.getContext("2d").getImageData(0, 0, width, height).data]]; }""",
        name,
    )
    return np.array(data, np.uint8).reshape(height, width, 4)


def choose(page, name: str):
    page.select_option("#model", name)
    page.wait_for_function("document.getElementById('status').textContent.startsWith('Loading')")


def test_a_picture(page, files):
    show(page, files / "picture.png")
    original, copy, tokens = (pixels(page, name)[..., :3].astype(int) for name in ("original", "copy", "tokens"))
    assert np.array_equal(original, np.array(Image.open(files / "picture.png")))
    assert tokens.shape == (13, 18, 3) and tokens.std() > 10  # of 100 and 140 pixels
    error = np.square(original - copy).mean()
    assert figure(page, "figPsnr") == pytest.approx(10 * np.log10(255**2 / error), abs=0.01)
    assert figure(page, "figTokens") == 13 * 18
    assert figure(page, "figBits") == pytest.approx(13 * 18 * 256 / 14000, abs=0.001)
    assert figure(page, "figThreads") == page.evaluate("Math.min(8, Math.ceil(navigator.hardwareConcurrency / 2))")
    assert page.evaluate("crossOriginIsolated")


def test_files_that_are_none(page, files):
    for name in ("notes.png", "broken.mp4"):
        page.set_input_files("#file", files / name)
        page.wait_for_selector("#problem:not([hidden])")
        assert name in page.inner_text("#problem")
        show(page, files / "picture.png")
        assert page.is_hidden("#problem")


def test_an_oversized_file(page, files):
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(201 * 2 ** 20)], "film.mp4"));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: data }));
        }"""
    )
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem") == "film.mp4 is too large: at most 200 MB."


def test_both_languages_on_a_phone(browser, address, files):
    phone = browser.new_context(locale="pt-BR", viewport={"width": 360, "height": 740})
    phone.set_default_timeout(LONG)
    page = phone.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    assert "navegador" in page.inner_text("h1")
    show(page, files / "picture.png", done="Concluído.")
    assert re.fullmatch(r"\d+,\d\d dB", page.inner_text("#figPsnr"))
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.click("#language")
    assert "browser" in page.inner_text("h1") and page.evaluate("document.documentElement.lang") == "en"
    assert re.fullmatch(r"\d+\.\d\d dB", page.inner_text("#figPsnr"))
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.reload()
    assert "browser" in page.inner_text("h1")  # the choice is kept
    phone.close()


def test_the_slider_and_the_keyboard_alone(page):
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "example":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "slider":
            break
    clip = "document.getElementById('original').style.clipPath"
    before = page.evaluate(clip)
    page.keyboard.press("End")
    assert " 50% " in before and " 0% " in page.evaluate(clip)
    box = page.locator("#pair").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 20)
    assert 24 <= float(page.input_value("#slider")) <= 26


@pytest.mark.slow
def test_a_clip_through_every_model(page, files):
    for name, tokens in [
        ("cv4x8x8-tiny", 3 * 96),
        ("dv4x8x8-tiny", 3 * 96),
        ("di8x8-tiny", 9 * 96),
        ("ci8x8-tiny", 9 * 96),
    ]:
        choose(page, name)
        page.wait_for_function("document.getElementById('status').textContent.startsWith('Loading') === false")
        show(page, files / "clip.mp4")
        assert figure(page, "figTokens") == tokens
        assert figure(page, "figPsnr") > 15
        assert page.is_visible("#figCodes") == (name[0] == "d")
        assert page.inner_text("#frameNumber").endswith("/ 9")
    page.click("#play")
    still = page.inner_text("#frameNumber")
    page.wait_for_timeout(300)
    assert page.inner_text("#frameNumber") == still
    page.focus("#frame")
    page.keyboard.press("End")
    assert page.inner_text("#frameNumber") == "9 / 9"


@pytest.mark.slow
def test_the_camera(page):
    page.click("#camera")
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#status") == "Live from the camera."
    before = figure(page, "figTokens")
    page.wait_for_function(
        "n => Number(document.getElementById('figTokens').textContent.replace(',', '')) > n", arg=before
    )
    page.click("#camera")
    assert page.inner_text("#status") == "Done."


def test_offline_after_the_first_visit(browser, address, files):
    visitor = browser.new_context(locale="en-US")
    visitor.set_default_timeout(LONG)
    page = visitor.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    visitor.set_offline(True)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    show(page, files / "picture.png")
    visitor.close()


def test_a_transparent_picture_is_put_on_white(page, tmp_path):
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:32, :48] = 0
    rgba = np.concatenate([picture(96, 64), alpha], axis=2)
    Image.fromarray(rgba).save(tmp_path / "transparent.png")
    show(page, tmp_path / "transparent.png")
    original = pixels(page, "original")
    assert (original[..., 3] == 255).all() and (original[:32, :48] == 255).all()
    assert np.array_equal(original[32:, :, :3], rgba[32:, :, :3])


def test_the_second_of_two_files_is_shown(page, files, tmp_path):
    Image.fromarray(picture(40, 48, seed=1)).save(tmp_path / "second.png")
    page.set_input_files("#file", files / "clip.mp4")
    show(page, tmp_path / "second.png")
    assert pixels(page, "original").shape == (48, 40, 4)
    assert figure(page, "figTokens") == 6 * 5
    assert page.is_hidden("#player")


@pytest.mark.slow
def test_a_turned_clip(page, files, tmp_path):
    """What a telephone held upright writes: frames of 96x64, and that a player turns them by 90 degrees clockwise."""
    show(page, files / "clip.mp4")
    page.focus("#frame")
    page.keyboard.press("Home")
    upright = pixels(page, "original").astype(int)
    clip = bytearray((files / "clip.mp4").read_bytes())
    matrix = clip.index(b"tkhd") + 44  # of version 0
    assert clip[matrix : matrix + 36] == struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    clip[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 64 << 16, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(clip)
    show(page, tmp_path / "turned.mp4")
    page.focus("#frame")
    page.keyboard.press("Home")
    turned = pixels(page, "original").astype(int)
    assert turned.shape == (96, 64, 4)
    assert np.abs(turned - np.rot90(upright, -1)).max() <= 2


def test_a_failed_download_is_tried_again(browser, address, files):
    visitor = browser.new_context(locale="en-US", service_workers="block")
    visitor.set_default_timeout(LONG)
    page = visitor.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    page.route("**/di8x8-tiny/*", lambda route: route.abort())
    page.select_option("#model", "di8x8-tiny")
    page.wait_for_selector("#problem:not([hidden])")
    page.unroute("**/di8x8-tiny/*")
    show(page, files / "picture.png")
    assert page.is_hidden("#problem") and page.is_visible("#figCodes")
    assert figure(page, "figThreads") == 1  # without a service worker there are no more
    visitor.close()


def test_a_service_worker_that_cannot_be_installed(browser, tmp_path):
    folder = build(tmp_path / "page")
    (folder / "files.json").unlink()
    visitor = browser.new_context(locale="en-US")
    visitor.set_default_timeout(LONG)
    page = visitor.new_page()
    with served(folder) as address:
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        assert page.inner_text("#status").startswith("Ready.")
        visitor.close()
