"""The report of a comparison: its page, its tables, and what a browser makes of it."""

import base64
import csv
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_comparison import HOSTILE, everything_wrong, examples, lifelike
from PIL import Image
from written import names

from cosmotok.errors import MediaError
from cosmotok.evaluation import report
from cosmotok.evaluation.pictures import Example, cut, difference_map, to_webp
from cosmotok.evaluation.report import to_html, to_viewers, write_report
from cosmotok.evaluation.results import FIGURES, Comparison
from cosmotok.evaluation.tables import (
    Cell,
    factors,
    number,
    rows_csv,
    summary,
    summary_csv,
    to_json,
    to_markdown,
    with_half,
)
from cosmotok.evaluation.terminal import columns_that_fit, print_comparison
from cosmotok.metrics.intervals import Interval
from cosmotok.printing import clean

VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """Reads a page; refuses tags that do not match, and notes what is asked for here."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.source = [], [], [], text
        self.rows, self.headings = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] in (["style"], ["script"]):
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "new"
    return folder, write_report(lifelike(), folder, examples())


@pytest.fixture(scope="module")
def page(written):
    return Page((written[0] / "report.html").read_text(encoding="utf-8"))


def page_of(comparison, shown=()):
    return Page(to_html(comparison, [], shown))


# The page -------------------------------------------------------------------------------------------------------------


def test_files_of_a_report(written):
    folder, paths = written
    assert paths[0] == folder / "report.html" and all(path.stat().st_size > 0 for path in paths)
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == sorted(str(path.relative_to(folder)) for path in paths)
    assert {path.name for path in paths if path.parent == folder} == {
        "report.html",
        "results.json",
        "rows.csv",
        "summary.csv",
        "tables.md",
    }
    assert len([path for path in paths if path.suffix == ".png"]) == len([p for p in paths if p.suffix == ".svg"]) == 9


def test_the_page_needs_nothing_else(page):
    addresses = [values[key] for _, values in page.tags for key in ("src", "href", "srcset", "poster") if key in values]
    assert addresses and all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not {"link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.tags for name in attributes)
    assert "url(" not in page.source and "@import" not in page.source and "http:" not in page.source


def test_the_policy_allows_its_own_script_and_style_alone(page):
    policy = next(meta["content"] for meta in page.named("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.source, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_page_can_be_heard(page):
    assert dict(page.tags)["html"] == {"lang": "en"}
    assert all(image["alt"] for image in page.named("img"))
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1 and 1 not in headings[1:]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {values["aria-labelledby"] for _, values in page.tags if "aria-labelledby" in values} <= set(ids)


def test_the_summary_has_the_totals(page):
    comparison = lifelike()
    rows = {row[0]: row for row in reversed(page.rows) if len(row) == 9}  # images come before videos
    for model in comparison.models:
        if model.images is None:
            continue
        psnr = model.images.figures["psnr"]
        cells = rows[model.name]
        assert cells[1].replace(" (best)", "") == f"{psnr.mean:.2f} ±{(psnr.high - psnr.low) / 2:.2f}"
        assert cells[6] == number(model.images.bits_per_pixel) and cells[8] == "4"
    assert {name for name, row in rows.items() if "(best)" in row[1]} == {"webp@4.0bpp", "av1@4.0bpp"}
    assert {name for name, row in rows.items() if "(best)" in row[7]} == {"klt:8x8:16", "klt:8x8x8:16"}


def test_rows_of_files_are_worst_first(page):
    comparison = lifelike()
    body = [row for row in page.rows if len(row) == 10 and row[0].startswith(("photos/", "clips/"))]
    assert len(body) == sum(len(model.files) for model in comparison.models)
    values = [float(row[3]) for row in body]
    assert values == sorted(values)
    assert "rows.csv are in" not in page.text


def test_a_page_with_too_many_rows_says_so(monkeypatch):
    monkeypatch.setattr(report, "MOST_ROWS", 5)
    page = page_of(lifelike())
    assert len([row for row in page.rows if row[0].startswith(("photos/", "clips/"))]) == 5
    assert "The worst 5 of 108 rows; all are in rows.csv." in page.text


def test_capabilities_are_said_as_words(page):
    row = next(row for row in page.rows if row[0] == "dv4x8x8-tiny" and "64,000 codes" in row)
    assert row[1:6] == ["4×8×8", "64,000 codes", "1,620,000", "71.3%", "8,123"]
    assert [cell[1:] for cell in row[6:]] == ["yes", "yes", "yes", "yes", "no", "yes", "yes"]


def test_remarks_are_said_once(page):
    assert "jpeg , webp , h264 , av1 : made-up settings of this sort of codec" in page.text
    assert page.text.count("made-up settings") == 1


def test_what_is_missing_is_said(page):
    assert "rFVD : needs the weights of I3D: give --i3d-weights" in page.text
    assert "Incomplete" not in page.text
    wrong = page_of(everything_wrong()).text
    for words in (
        "Incomplete.",
        "LPIPS : needs <weights>",
        "absent : its weights <are> missing",
        "<s>x</s>.mp4 : cannot be read: <script>",
        "<i>broken</i>.png : is <b>damaged</b>",
    ):
        assert words in wrong


def test_names_from_outside_are_text(tmp_path):
    shown = [replace(examples()[0], model=HOSTILE, file=HOSTILE + "\n\x00\u202e")]
    write_report(everything_wrong(), tmp_path, shown)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(page.named("script")) == 1 and not {"b", "u", "i", "s", "em"} & {tag for tag, _ in page.tags}
    assert HOSTILE in page.text and HOSTILE + "���" in page.text
    assert "\u202e" not in page.source and "\x1b" not in page.source and "\x00" not in page.source


def test_names_that_are_no_utf8(tmp_path):
    odd = b"caf\xe9.png".decode(errors="surrogateescape")
    comparison = everything_wrong()
    files = [replace(comparison.models[0].files[0], file=odd)]
    comparison = replace(comparison, models=[replace(comparison.models[0], files=files)])
    write_report(comparison, tmp_path)
    assert Comparison.from_dict(json.loads((tmp_path / "results.json").read_text())) == comparison
    assert "caf\\udce9.png" in (tmp_path / "rows.csv").read_text(encoding="utf-8")
    assert "caf�.png" in Page((tmp_path / "report.html").read_text(encoding="utf-8")).text


def test_one_contestant_has_its_figures_on_top(tmp_path):
    model = lifelike().models[3]
    page = page_of(replace(lifelike(), models=[model]))
    assert "dv4x8x8-tiny on a folder of photos and clips" in page.text
    assert f"PSNR, images {model.images.figures['psnr'].mean:.2f} dB" in page.text
    assert "(best)" not in page.text and "best of its column" not in page.text


def test_almost_nothing_is_enough(tmp_path):
    paths = write_report(Comparison("tokenbench", "words", "data", []), tmp_path)
    page = Page(paths[0].read_text(encoding="utf-8"))
    assert "Nothing could be measured." in page.text and "Examples" not in page.text and "Charts" not in page.text


def test_a_report_that_cannot_be_written(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(MediaError, match=r"report\.html"):
        write_report(Comparison("tokenbench", "words", "data", []), tmp_path)
    assert not [name for name in names(tmp_path) if name.startswith(".")]


# Examples -------------------------------------------------------------------------------------------------------------


def decoded(address):
    content = base64.b64decode(address.removeprefix("data:image/webp;base64,"), validate=True)
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def test_examples_are_shown_to_the_pixel_worst_first():
    shown = examples()
    viewers, left_out = to_viewers(lifelike(), shown)
    assert [viewer.file for viewer in viewers] == ["photos/astronaut.png", "clips/rocket.mp4", "photos/chelsea.png"]
    assert left_out == 0 and [view.model for view in viewers[0].views] == ["cv4x8x8-tiny", "dv4x8x8-tiny", "klt:8x8:16"]
    assert np.array_equal(decoded(viewers[0].original), shown[0].original)
    assert np.array_equal(decoded(viewers[0].views[1].reconstruction), shown[1].reconstruction)
    assert viewers[0].views[1].psnr == f"{shown[1].psnr:.2f} dB"
    difference = decoded(viewers[0].views[1].difference).astype(int)
    assert np.abs(difference - difference_map(shown[1].original, shown[1].reconstruction)).mean() < 8
    assert viewers[1].frame == 12


def test_large_pictures_are_cut_and_too_many_are_left_out(monkeypatch):
    monkeypatch.setattr(report, "MOST_SIDE", 100)
    viewers, _ = to_viewers(lifelike(), examples()[:1])
    assert (viewers[0].width, viewers[0].height, viewers[0].full_size) == (100, 100, "512×512")
    assert np.array_equal(decoded(viewers[0].original), examples()[0].original[206:306, 206:306])
    monkeypatch.setattr(report, "MOST_PICTURE_BYTES", 100_000)
    viewers, left_out = to_viewers(lifelike(), examples())
    assert viewers and left_out == len(examples()) - sum(len(viewer.views) for viewer in viewers) > 0
    assert f"{left_out} more would make this page too large" in page_of(lifelike(), examples()).text


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20))
def test_the_middle_of_a_picture(height, width, most):
    picture = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    middle = cut(picture, most)
    assert middle.shape == (min(height, most), min(width, most), 3)
    top, left = (height - middle.shape[0]) // 2, (width - middle.shape[1]) // 2
    assert np.array_equal(middle, picture[top : top + most, left : left + most])


def test_differences_are_amplified_and_grey_where_equal():
    original = np.full((4, 4, 3), 100, np.uint8)
    reconstruction = original.copy()
    reconstruction[0, 0] = (110, 90, 200)
    difference = difference_map(original, reconstruction)
    assert difference[0, 0].tolist() == [168, 88, 255] and (difference[1:] == 128).all()
    assert Example("m", "f", 0, original, original).psnr == math.inf
    error = (10**2 + 10**2 + 100**2) / 48
    assert Example("m", "f", 0, original, reconstruction).psnr == pytest.approx(10 * math.log10(255**2 / error))


def test_webp_is_exact_or_smaller():
    picture = examples()[0].original
    exact, good = to_webp(picture, "exact"), to_webp(picture, "good")
    assert len(good) < len(exact) / 3
    with Image.open(io.BytesIO(exact)) as opened:
        assert np.array_equal(np.asarray(opened), picture)


# Tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("comparison", [lifelike(), everything_wrong()])
def test_json_reads_back(comparison):
    assert Comparison.from_dict(json.loads(to_json(comparison))) == comparison


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_rows_read_back():
    comparison = lifelike()
    rows = read(rows_csv(comparison))
    entries = [(model, file) for model in comparison.models for file in model.files]
    assert len(rows) == len(entries)
    for row, (model, file) in zip(rows, entries, strict=True):
        assert (row["model"], row["file"], row["kind"]) == (model.name, file.file, file.kind)
        for name in (*FIGURES, "bits_per_pixel", "seconds", "codes"):
            value = getattr(file, name)
            assert row[name] == "" if value is None else float(row[name]) == value


def test_rows_of_failures_and_odd_names_read_back():
    comparison = everything_wrong()
    rows = read(rows_csv(comparison))
    assert [row["file"] for row in rows] == [HOSTILE, "b�b�[2J.png", "<i>broken</i>.png", "b�b�[2J.png"]
    assert float(rows[0]["psnr"]) == math.inf and rows[1]["psnr"] == ""
    assert rows[2]["error"] == "is <b>damaged</b>" and rows[2]["psnr"] == ""


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_spreadsheets_compute_nothing_of_what_names_say(name):
    model = lifelike().models[0]
    file = replace(model.files[0], file=f"{name}.png", psnr=-3.5)
    (row,) = read(rows_csv(replace(lifelike(), models=[replace(model, name=name, files=[file])])))
    assert row["model"][0] not in "=+-@\t\r" and row["file"][0] not in "=+-@\t\r"
    assert row["file"].endswith(f"{name.strip()}.png") and float(row["psnr"]) == -3.5


def test_the_summary_reads_back():
    comparison = lifelike()
    rows = {(row["model"], row["kind"]): row for row in read(summary_csv(comparison))}
    assert len(rows) == sum((model.images is not None) + (model.videos is not None) for model in comparison.models)
    for model in comparison.models:
        for kind, totals in (("image", model.images), ("video", model.videos)):
            if totals is None:
                continue
            row = rows[model.name, kind]
            for name, interval in totals.figures.items():
                found = [float(row[f"{name}{end}"]) for end in ("", "_low", "_high")]
                assert found == [interval.mean, interval.low, interval.high]
            assert float(row["megapixels_per_second"]) == totals.megapixels_per_second
            assert int(row["files"]) == totals.files and int(row["failed"]) == 0
    wrong = {row["model"]: row for row in read(summary_csv(everything_wrong()))}
    assert wrong["absent"]["error"] == "its weights <are> missing" and wrong["absent"]["kind"] == ""
    assert wrong[HOSTILE]["failed"] == "1"


def test_markdown_tables_are_tables():
    text = to_markdown(lifelike())
    images, videos, places = re.findall(r"### .+\n\n((?:\|.*\n)+)", text)
    for table, count in ((images, 12), (videos, 15), (places, 15)):
        lines = table.splitlines()
        assert len(lines) == count + 2
        assert len({line.count("|") for line in lines}) == 1
    assert "| webp@4.0bpp | **40.34 ± 3.05** |" in images
    assert "\n\n- rFVD was not measured: needs the weights" in text


def test_quality_by_place_is_in_every_table(page, capsys):
    comparison = lifelike()
    comparison = replace(comparison, models=comparison.models[:1])
    means = [interval.mean for interval in comparison.models[0].videos.places.values()]
    assert len(means) == 3
    print_comparison(comparison)
    row = read(summary_csv(comparison))[1]
    assert [float(row[f"psnr_frames_{name}"]) for name in ("1", "2-17", "18-33")] == means
    assert row["psnr_frames_34-81"] == ""
    (file, *_) = (row for row in read(rows_csv(comparison)) if row["kind"] == "video")
    assert float(file["psnr_frames_18-33"]) == comparison.models[0].files[4].places["18-33"]
    for text in (capsys.readouterr().out, to_markdown(comparison), page.text):
        assert all(f"{mean:.2f}" in text for mean in means)
        assert "Videos by frame" in text and " 18-33 " in text and "34-81" not in text


def test_markdown_of_hostile_names_is_text():
    text = to_markdown(everything_wrong())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 7  # two tables: header, rule, rows
    unescaped = re.sub(r"\\.", "", text.replace("**", ""))
    assert not re.search(r"[<>`\[\]$*]", unescaped)
    assert len({re.sub(r"\\.", "", line).count("|") for line in rows[:4]}) == 1


def test_the_terminal_table(capsys, monkeypatch):
    print_comparison(lifelike())
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.split()[:1] == ["ci8x8-tiny"])
    psnr = lifelike().models[2].images.figures["psnr"]
    assert f" {psnr.mean:.2f} ± {(psnr.high - psnr.low) / 2:.2f} " in row
    assert "dv4x8x8-tiny: 71.3% of the codes in use, perplexity 8,123" in shown
    assert "rFVD was not measured: needs the weights" in shown and "Protocol tokenbench. PSNR over all" in shown
    print_comparison(everything_wrong())
    shown = capsys.readouterr().out
    assert HOSTILE in shown and "\x1b" not in shown
    assert "absent was not measured: its weights <are> missing" in shown


def test_many_failures_are_counted_on_the_terminal(capsys):
    print_comparison(replace(lifelike(), unread={f"{i}.png": "is damaged" for i in range(50)}))
    shown = capsys.readouterr().out
    assert "and 31 more" in shown and shown.count("could not be read") == 19


def test_best_values_are_marked_as_they_are_written():
    columns, rows = summary(lifelike(), "image")
    assert [column.key for column in columns] == [
        "psnr",
        "ssim",
        "lpips",
        "sharpness",
        "frechet",
        "bits_per_pixel",
        "megapixels_per_second",
    ]
    best = {column.key: [row.model.name for row in rows if row.cells[i].is_best] for i, column in enumerate(columns)}
    assert best["psnr"] == best["ssim"] == best["lpips"] == best["frechet"] == ["webp@4.0bpp"]
    assert best["bits_per_pixel"] == best["sharpness"] == [] and best["megapixels_per_second"] == ["klt:8x8:16"]
    models = lifelike().models[:2]
    figures = {"psnr": Interval(30.001, 30, 31, 4)}
    models[0] = replace(models[0], images=replace(models[0].images, figures=figures))
    models[1] = replace(models[1], images=replace(models[1].images, figures={"psnr": Interval(30.002, 30, 31, 4)}))
    _, rows = summary(replace(lifelike(), models=models), "image")
    assert [row.cells[0].is_best for row in rows] == [True, True]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (30.126, 2, "30.13"),
        (0.0624, None, "0.0624"),
        (1.0, None, "1.00"),
        (160.4, None, "160"),
        (12345.6, None, "12,346"),
        (0.0, None, "0"),
        (math.inf, 2, "∞"),
        (-math.inf, 2, "-∞"),
        (math.nan, 2, "–"),
    ],
)
def test_numbers(value, digits, text):
    assert number(value, digits) == text


@given(st.floats(1e-4, 1e9))
def test_numbers_of_three_digits_are_near(value):
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=5e-3)


def test_intervals_of_one_file_or_none_are_not_shown():
    assert with_half(Cell(30.0, "30.00", Interval(30, 30, 30, 1))) == "30.00"
    assert with_half(Cell(math.inf, "∞", Interval(math.inf, 30, math.inf, 4))) == "∞"
    assert with_half(Cell(30.0, "30.00", Interval(30, 29, 31.5, 4))) == "30.00 ± 1.25"


def test_words_of_factors():
    models = {model.name: model for model in lifelike().models}
    assert [factors(models[n].traits) for n in ("cv4x8x8-tiny", "ci8x8-tiny", "jpeg@1.0bpp")] == ["4×8×8", "8×8", "–"]


@given(st.text())
def test_cleaned_text_is_one_printable_line(text):
    assert clean(text).isprintable() and len(clean(text)) == len(text)


# The browser ----------------------------------------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

PROBE = """
const said = [];
const cells = (column) => [...document.querySelectorAll(".sortable tbody tr")]
  .filter((row) => !row.hidden).map((row) => row.cells[column].textContent);
const button = (column) => document.querySelectorAll(".sortable thead button")[column];
const rising = (values) => values.every((value, i) => i === 0 || values[i - 1] <= value);
const numbers = () => cells(3).map(Number);
said.push(rising(numbers()));
button(3).click();
said.push(rising(numbers().reverse()) && numbers()[0] > numbers()[1]);
button(6).click();
said.push(cells(6).findIndex((text) => text === "–") === cells(6).filter((text) => text !== "–").length);
button(0).click();
said.push(rising(cells(0)) && document.querySelectorAll("[aria-sort]").length === 1);
const select = document.querySelector(".choice select");
select.value = "ci8x8-tiny";
select.dispatchEvent(new Event("change"));
said.push(cells(1).length === 4 && cells(1).every((name) => name === "ci8x8-tiny"));
const range = document.querySelector(".pair input");
const pair = document.querySelector(".pair");
range.value = 20;
range.dispatchEvent(new Event("input"));
said.push(getComputedStyle(pair.querySelector(".over")).clipPath === "inset(0px 80% 0px 0px)" ||
  getComputedStyle(pair.querySelector(".over")).clipPath);
range.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", cancelable: true }));
said.push(pair.style.getPropertyValue("--cut") === "22%");
const radio = document.querySelectorAll(".models input")[1];
radio.click();
said.push(pair.querySelector(".right").textContent === "dv4x8x8-tiny");
said.push([...pair.querySelectorAll("img:not(.over)")].filter((image) => !image.hidden).length === 1);
said.push([...document.images].every((image) => image.complete && image.naturalWidth > 0));
said.push(document.documentElement.scrollWidth <= innerWidth);
document.title = JSON.stringify(said);
"""


def browse(path, *options):
    """Opens a page in a browser without a window; what it says on standard output."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium here")
    profile = path.parent / "profile"
    fixed = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    command = [browser, *fixed.split(), f"--user-data-dir={profile}", *options, path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("width", [1200, 500])
def test_sorting_and_sliders_work_in_a_browser(written, tmp_path, width):
    text = (written[0] / "report.html").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    probed = text.replace("script-src ", f"script-src 'sha256-{digest}' ")
    probed = probed.replace("</body>", f"<script>{PROBE}</script></body>")
    (tmp_path / "page.html").write_text(probed, encoding="utf-8")
    shown = browse(tmp_path / "page.html", f"--window-size={width},900", "--dump-dom")
    assert json.loads(re.search("<title>(.*?)</title>", shown, re.S).group(1)) == [True] * 11


def test_the_page_is_seen_as_it_is(written, tmp_path):
    """Under its own policy, in which a probe cannot run."""
    shutil.copy(written[0] / "report.html", tmp_path / "page.html")
    picture = tmp_path / "page.png"
    browse(tmp_path / "page.html", "--window-size=1200,2600", f"--screenshot={picture}")
    with Image.open(picture) as shown:
        pixels = np.asarray(shown.convert("RGB")).astype(int)
    assert pixels.shape == (2600, 1200, 3)
    accent, shaded = ((np.abs(pixels - colour).sum(-1) < 9).sum() for colour in ((37, 99, 168), (232, 240, 249)))
    assert accent > 500 and shaded > 5000  # what the style sheet colours
    assert (pixels[2000:2500].sum(-1) < 500).sum() > 2000  # a chart


def test_columns_stand_in_as_many_tables_as_they_need():
    assert columns_that_fit(10, [5, 5, 5], 34) == [range(3)]
    assert columns_that_fit(10, [5, 5, 5], 33) == [range(2), range(2, 3)]
    assert columns_that_fit(10, [50, 5], 20) == [range(1), range(1, 2)]  # one at least


def test_names_stay_whole_at_80_columns(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    print_comparison(lifelike())
    printed = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    names = {model.name for model in lifelike().models if len(model.name) < 40}
    assert all(name in printed for name in names)
    rows = [line for line in printed.splitlines() if line.startswith(" ")]
    assert len(rows) > 2 * len(names) and max(map(len, rows)) <= 80
