"""Charts of comparisons: what is in them, that labels can be read, and published points as they were published."""

import math
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_comparison import codec, everything_wrong, lifelike, made_up_model, tokenizer
from PIL import Image

from cosmotok import plotting
from cosmotok.errors import InputError, MissingExtraError
from cosmotok.evaluation import charts
from cosmotok.evaluation.charts import Bars, Plane, charts_of, to_svg, write_chart
from cosmotok.evaluation.labels import Label, place
from cosmotok.evaluation.literature import DRAWN, LITERATURE
from cosmotok.evaluation.results import Comparison
from cosmotok.metrics.intervals import Interval

NAMES = [
    "compression-continuous",
    "compression-discrete",
    "rate-images",
    "rate-videos",
    "speed-images",
    "speed-videos",
    "bars-images",
    "bars-videos",
    "capabilities",
]


@pytest.fixture(scope="module")
def drawings():
    return {chart.name: chart for chart in charts_of(lifelike())}


def points(plane):
    return {mark.name: (mark.x, mark.y) for group in plane.groups if group.filled for mark in group.marks}


def test_all_charts_of_a_lifelike_comparison(drawings):
    assert list(drawings) == NAMES
    for chart in drawings.values():
        assert chart.title and chart.caption and chart.words.endswith(".")
        assert "cv4x8x8-tiny" in chart.words or "discrete" in chart.name


@pytest.mark.parametrize("name", ["compression-continuous", "rate-videos", "bars-images", "capabilities"])
def test_pictures_are_what_they_say(drawings, tmp_path, name):
    paths = tmp_path / "chart.png", tmp_path / "chart.svg"
    write_chart(drawings[name], *paths)
    with Image.open(paths[0]) as picture:
        assert picture.format == "PNG" and picture.width == round(charts.WIDTH * plotting.DOTS_PER_INCH)
        assert np.asarray(picture.convert("L")).std() > 15
    assert ElementTree.parse(paths[1]).getroot().tag.endswith("svg")


def test_the_same_chart_is_the_same_file(drawings):
    assert to_svg(drawings["rate-images"]) == to_svg(drawings["rate-images"])


def test_measured_and_published_points_are_told_apart(drawings):
    chart = drawings["compression-continuous"]
    groups = {group.legend: group for group in chart.groups}
    assert list(groups) == [
        "images, measured here",
        "videos, measured here",
        "images, published: COCO-2017 val",
        "videos, published: TokenBench",
    ]
    assert [group.filled for group in groups.values()] == [True, True, False, False]
    assert len({(group.marker, group.filled) for group in groups.values()}) == 4  # without colours, too
    assert "other data" in chart.caption and "TokenBench" in chart.caption
    hollow = {(mark.label, mark.x, mark.y) for group in groups.values() if not group.filled for mark in group.marks}
    assert ("Cosmos-0.1-CV", 2048, 31.61) in hollow and ("FLUX", 64, 24.0) in hollow


def test_compression_is_in_pixels_per_token_of_the_kind(drawings):
    by_legend = {group.legend: group for group in drawings["compression-continuous"].groups}
    videos = {mark.name: mark.x for mark in by_legend["videos, measured here"].marks}
    images = {mark.name: mark.x for mark in by_legend["images, measured here"].marks}
    assert videos == {"cv4x8x8-tiny": 256, "cv8x8x8-tiny": 512, "klt:4x8x8:16": 256, "klt:8x8x8:16": 512}
    assert images == {"cv4x8x8-tiny": 64, "cv8x8x8-tiny": 64, "ci8x8-tiny": 64, "klt:8x8:16": 64}
    assert drawings["compression-continuous"].ticks[256] == "256\n16×16, 4×8×8"


def test_points_are_the_totals(drawings):
    models = {model.name: model for model in lifelike().models}
    for name, (x, y) in points(drawings["rate-videos"]).items():
        assert (x, y) == (models[name].videos.bits_per_pixel, models[name].videos.figures["psnr"].mean)
    for name, (x, y) in points(drawings["speed-images"]).items():
        assert (x, y) == (models[name].images.megapixels_per_second, models[name].images.figures["psnr"].mean)
    assert set(points(drawings["rate-images"])) == {name for name, model in models.items() if model.images}


def test_codecs_are_lines_over_their_rates(drawings):
    lines = [group for group in drawings["rate-videos"].groups if group.line]
    assert [group.marks[-1].label for group in lines] == ["klt", "h264", "av1"]
    assert len({(group.colour, group.marker) for group in lines}) == 3
    for group in lines:
        assert [mark.x for mark in group.marks] == sorted(mark.x for mark in group.marks)
        assert not any(mark.label for mark in group.marks[:-1])


def test_a_codec_at_one_rate_keeps_its_whole_name():
    models = [
        made_up_model("h264@0.5bpp", codec(video=True), 30, 0.5, 10),
        made_up_model("a", tokenizer(8, 4), 30, 1, 2),
    ]
    chart = next(chart for chart in charts_of(replace(lifelike(), models=models)) if chart.name == "rate-videos")
    assert {mark.label for group in chart.groups for mark in group.marks} == {"h264@0.5bpp", "a"}


def test_bars_are_sorted_and_say_their_intervals(drawings):
    chart = drawings["bars-images"]
    values = [totals.figures["psnr"].mean for _, totals in chart.rows]
    assert values == sorted(values, reverse=True)
    interval = {model.name: totals for model, totals in chart.rows}["ci8x8-tiny"].figures["psnr"]
    assert f"ci8x8-tiny: PSNR {interval.mean:.2f} ({interval.low:.2f} to {interval.high:.2f})" in chart.words


def test_the_capability_table_has_every_contestant_once(drawings):
    names = [name for name, _ in drawings["capabilities"].rows]
    assert names[:3] == ["cv4x8x8-tiny", "cv8x8x8-tiny", "ci8x8-tiny"] and names[-4:] == ["jpeg", "webp", "h264", "av1"]
    assert "dv4x8x8-tiny: causal, image, video, joint, discrete, streaming;" in drawings["capabilities"].words


# Labels ---------------------------------------------------------------------------------------------------------------


def label_boxes(figure):
    """Of the labels in a figure, (left, bottom, right, top), and of its axes."""
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    boxes = {
        text.get_text(): text.get_window_extent(renderer).extents
        for i, text in enumerate(axes.texts)
        if text.get_text()
    }
    return boxes, axes.get_window_extent(renderer).extents


def shared(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


@pytest.mark.parametrize("name", NAMES[:6])
def test_labels_overlap_nothing(drawings, name):
    chart = drawings[name]
    labels = [mark.label for group in chart.groups for mark in group.marks if mark.label]

    def check(figure):
        (axes,) = figure.axes
        renderer = figure.canvas.get_renderer()
        texts = [text for text in axes.texts if text.get_text()]
        assert sorted(text.get_text() for text in texts) == sorted(labels)
        boxes = [text.get_window_extent(renderer).extents for text in texts]
        markers = [axes.transData.transform((mark.x, mark.y)) for group in chart.groups for mark in group.marks]
        boxes += [np.array([x - 3, y - 3, x + 3, y + 3]) for x, y in markers]
        frame = axes.get_window_extent(renderer).extents
        for i, j in combinations(range(len(boxes)), 2):
            if i < len(texts):  # markers may lie on each other
                assert shared(boxes[i], boxes[j]) < 1, (texts[i].get_text(), j)
        for box in boxes:
            assert (box[:2] >= frame[:2] - 1).all() and (box[2:] <= frame[2:] + 1).all()

    charts.drawn(chart, chart.caption, check)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)), min_size=1, max_size=12))
def test_labels_of_points_anywhere_do_not_overlap(places):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    place(axes, [Label(x, y, f"model {i}", "black") for i, (x, y) in enumerate(places)], np.array(places))
    boxes, frame = label_boxes(figure)
    assert len(boxes) == len(places)
    assert all(shared(a, b) == 0 for a, b in combinations(boxes.values(), 2))
    assert all((box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all() for box in boxes.values())


# What is odd ----------------------------------------------------------------------------------------------------------


def test_hostile_names_and_missing_figures(tmp_path):
    for chart in charts_of(everything_wrong()):
        write_chart(chart, tmp_path / f"{chart.name}.svg")
        text = (tmp_path / f"{chart.name}.svg").read_text(encoding="utf-8")
        assert "<script" not in text
        ElementTree.fromstring(text)


def test_nothing_to_compare_is_not_drawn():
    def names(models):
        return [chart.name for chart in charts_of(replace(lifelike(), models=models))]

    models = lifelike().models
    assert names([]) == []
    assert names(models[3:4]) == ["compression-discrete", "capabilities"]
    assert names(models[8:9]) == ["capabilities"]
    assert names([replace(models[0], error="no weights", images=None, videos=None)]) == []


def test_infinite_figures_are_no_points_but_said_in_bars(tmp_path):
    models = lifelike().models[:3]
    infinite = Interval(math.inf, math.inf, math.inf, 4)
    images = replace(models[0].images, figures={**models[0].images.figures, "psnr": infinite})
    models[0] = replace(models[0], images=images)
    drawn = {chart.name: chart for chart in charts_of(replace(lifelike(), models=models))}
    assert "cv4x8x8-tiny" not in points(drawn["rate-images"])
    assert "cv4x8x8-tiny: PSNR ∞" in drawn["bars-images"].words
    write_chart(drawn["bars-images"], tmp_path / "bars.png")


figure = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=32))


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(figure, figure, figure), min_size=2, max_size=6))
def test_any_figures_can_be_drawn(rows):
    models = []
    for i, (psnr, bits, speed) in enumerate(rows):
        model = made_up_model(f"m{i}", tokenizer(8, 1), 30, 1, 1)
        figures = {} if psnr is None else {"psnr": Interval(psnr, psnr, psnr, 2)}
        images = replace(model.images, figures=figures, bits_per_pixel=bits, megapixels_per_second=speed)
        models.append(replace(model, images=images))
    for chart in charts_of(Comparison("p", "words", "data", models)):
        if isinstance(chart, (Plane, Bars)):
            ElementTree.fromstring(to_svg(chart))


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected a name that ends in \.png, \.svg, \.pdf"):
        plotting.check_plot(tmp_path / "chart.gif")


def test_without_matplotlib(monkeypatch, drawings):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"cosmotok\[eval\]"):
        to_svg(drawings["rate-images"])


# Published ------------------------------------------------------------------------------------------------------------


def test_published_points():
    assert len(LITERATURE) == 2 * (13 + 8)
    assert {entry.data for entry in LITERATURE} == {"DAVIS 1080p", "TokenBench", "COCO-2017 val", "ImageNet val"}
    assert set(DRAWN.values()) <= {entry.data for entry in LITERATURE}
    for entry in LITERATURE:
        assert 15 < entry.psnr < 40 and (entry.ssim is None or 0.39 < entry.ssim < 0.94)
        assert entry.source and (entry.kind == "image") == (entry.time == 1)
        assert entry.compression == entry.time * entry.space**2
        assert ("TokenBench#3" in entry.source) == (entry.data == "TokenBench")


@pytest.mark.parametrize(
    ("model", "space", "data", "values"),
    [
        ("Cosmos-0.1-CV", 16, "TokenBench", (8, 49, 31.61, 0.875, 43.08)),
        ("Cosmos-1.0-DV", 16, "DAVIS 1080p", (8, 49, 25.49, 0.719, 259.33)),
        ("Cosmos-Tokenize1-CV-360p", 8, "TokenBench", (4, 49, 38.42, None, None)),
        ("VideoGPT", 4, "TokenBench", (4, None, 33.66, 0.914, 13.85)),
        ("Open-MAGVIT2", 16, "ImageNet val", (1, 1, 17.0, 0.398, 2.7)),
    ],
)
def test_published_values(model, space, data, values):
    (entry,) = (e for e in LITERATURE if (e.model, e.space, e.data) == (model, space, data))
    assert (entry.time, entry.frames, entry.psnr, entry.ssim, entry.frechet) == values
