"""The report of a run, its log read back after accidents, and what console and trackers show of it."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_run import log_lines, made_up_run, sample, write_log
from PIL import Image
from small import small
from written import names

from cosmotok.errors import InputError
from cosmotok.training import console
from cosmotok.training.console import RunConsole
from cosmotok.training.curves import MOST_POINTS, Series, charts_of, short, thinned, to_svg
from cosmotok.training.history import read_history, timeline
from cosmotok.training.pictures import write_grid
from cosmotok.training.report import write_report
from cosmotok.training.trackers import track_grid, tracker_values

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Reads a page; refuses tags that do not match, and notes what is asked for here."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.words, self.headings = [], [], [], [], []
        self.source = text
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.addresses += [attributes[name] for name in ("src", "href", "srcset", "poster") if name in attributes]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(self.words)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A discrete run with everything in it, and its report."""
    folder = made_up_run(tmp_path_factory.mktemp("runs") / "a <b>&$run$", small("dv4x8x8"), discrete=True)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run):
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_the_page_needs_nothing_else(page):
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    (style,) = re.findall("<style>(.*?)</style>", page.source, re.S)
    assert ".charts" in style and "url(" not in style and "@import" not in style
    policy = next(meta["content"] for meta in page.named("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'") and "script" not in policy


def test_pictures_in_the_page_are_what_they_say(page, run):
    kinds = []
    for address in page.addresses:
        kind, content = re.fullmatch(r"data:([a-z0-9/+]+);base64,(.*)", address).groups()
        content = base64.b64decode(content, validate=True)
        kinds.append(kind)
        if kind == "image/jpeg":
            with Image.open(io.BytesIO(content)) as picture, Image.open(run / "samples/step-00006000.png") as grid:
                assert picture.format == "JPEG" and picture.size == grid.size
        elif kind == "image/svg+xml":
            assert b"</svg>" in content and b"<script" not in content
        else:
            assert content == (run / "samples/step-00006000-1.mp4").read_bytes()
    assert {kind: kinds.count(kind) for kind in kinds} == {"image/svg+xml": 11, "image/jpeg": 1, "video/mp4": 1}


def test_the_page_can_be_heard(page):
    assert dict(page.tags)["html"] == {"lang": "en"}
    assert all(len(image["alt"]) > 20 for image in page.named("img"))
    assert all(video["aria-label"] for video in page.named("video"))
    assert page.headings[0] == 1 and set(page.headings[1:]) == {2}
    assert "PSNR (dB) over training steps: training" in page.named("img")[2]["alt"]


def test_names_from_outside_are_text(page, run):
    assert "Training run a <b>&$run$" in page.text
    assert "<script>alert(1)</script>.mp4" in page.text
    assert "a&b.png: is damaged" in page.text
    assert "model: <script>" in page.text
    assert page.named("script") == page.named("b") == []


def test_the_figures_are_those_of_the_log(page, run):
    lines = log_lines(discrete=True)
    last, validation = lines[-2], lines[-1]
    assert f"{validation['psnr']:.2f} dB" in page.text
    assert f"Frames 18-33 {validation['psnr_by_place']['18-33']:.2f} dB" in page.text
    assert f"{validation['ssim']:.4f}" in page.text
    assert f"{validation['code_usage']:.1%}" in page.text
    assert f"{validation['perplexity']:,.0f}" in page.text
    assert f"{last['psnr']:.2f} dB" in page.text
    assert f"{small('dv4x8x8').parameters:,}" in page.text
    assert "6,000" in page.text and "31 min 0 s" in page.text
    speeds = [line["samples_per_second"] for line in lines if line["kind"] == "train"]
    assert f"{np.median(speeds):.1f} samples/s" in page.text


def test_the_picture_is_one_landscape_page(run):
    with Image.open(run / "report.png") as picture:
        assert picture.format == "PNG"
        assert picture.width / picture.height == pytest.approx(2**0.5, rel=0.01)
        assert np.asarray(picture.convert("L")).std() > 20
    assert not [name for name in names(run) if name.startswith(".")]


def test_it_is_the_same_again(run):
    before = (run / "report.html").read_bytes()
    write_report(run)
    assert (run / "report.html").read_bytes() == before


def test_a_run_that_just_began(tmp_path):
    write_log(tmp_path, log_lines()[:1])
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "no model was saved yet" in page.text
    assert "Reconstructions" not in page.text and "Final validation" not in page.text and "Recipe" not in page.text
    assert (tmp_path / "report.png").exists()


def test_figures_that_are_missing_or_not_finite_are_gaps(tmp_path):
    lines = [line for line in log_lines() if line["kind"] == "train"][:4]
    lines[1] |= {"loss": None, "terms": {}, "psnr": None}
    lines[2]["loss"] = float("nan")
    lines[3]["grad_norm"] = float("inf")
    for line in lines:
        line["lr"] = 0.0
    write_log(tmp_path, lines)
    history = read_history(tmp_path)
    assert history.series("train", "loss")[0] == [50, 200]
    assert history.series("train", "psnr")[0] == [50, 150, 200]
    assert history.series("train", "terms.l1")[0] == [50, 150, 200]
    assert history.series("train", "grad_norm")[0] == [50, 100, 150]
    assert write_report(tmp_path).exists()


@pytest.mark.parametrize("line", [{"kind": "train", "step": 5}, {"kind": "validation", "step": 0, "psnr": 20.0}])
def test_almost_nothing_is_enough(tmp_path, line):
    write_log(tmp_path, [line])
    assert f"Steps {line['step']}" in Page(write_report(tmp_path).read_text(encoding="utf-8")).text


def test_validation_alone_is_enough(tmp_path):
    write_log(tmp_path, [line for line in log_lines() if line["kind"] == "validation"])
    assert "29.7" in Page(write_report(tmp_path).read_text(encoding="utf-8")).text


# The log ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 7, 40, -1])
def test_a_last_line_cut_short_is_left_out(tmp_path, cut):
    lines = log_lines()
    write_log(tmp_path, lines[:-1], rest=json.dumps(lines[-1])[:cut])
    history = read_history(tmp_path)
    assert [history.train[-1]["step"], history.validation[-1]["step"]] == [6000, 5400]


def entries(kind, steps, run=0):
    return [{"kind": kind, "step": step, "run": run} for step in steps]


def test_a_resumed_run_replaces_what_came_after_its_checkpoint():
    first = entries("train", [10, 20, 30, 40]) + entries("validation", [40])
    again = entries("train", [20, 30], run=1)
    assert timeline(first + again, "train") == entries("train", [10]) + again
    assert timeline(first + again, "validation") == []


def test_a_validation_at_the_step_of_a_checkpoint_stays():
    lines = entries("train", [10]) + entries("validation", [10]) + entries("train", [20, 30])
    lines += entries("train", [20], run=1)
    assert timeline(lines, "validation") == entries("validation", [10])
    assert timeline(lines, "train") == entries("train", [10]) + entries("train", [20], run=1)


@given(st.lists(st.tuples(st.sampled_from(["train", "validation"]), st.integers(0, 20)), max_size=30))
def test_any_log_becomes_a_rising_timeline_whose_last_line_is_the_latest(lines):
    lines = [{"kind": kind, "step": step, "run": i} for i, (kind, step) in enumerate(lines)]
    for kind in ("train", "validation"):
        kept = timeline(lines, kind)
        assert all(before["step"] < after["step"] for before, after in pairwise(kept))
        assert [line["run"] for line in kept] == sorted(line["run"] for line in kept)
        if lines and lines[-1]["kind"] == kind:
            assert kept[-1] == lines[-1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"no log\.jsonl in this folder"),
        ("", r"no step was logged yet"),
        ('{"kind": "train", "st', r"no step was logged yet"),
        ('[1, 2]\n"text"\n{"kind": "train"}\n', r"no step was logged yet"),
    ],
)
def test_a_folder_without_a_run_is_refused(tmp_path, content, words):
    if content is not None:
        (tmp_path / "log.jsonl").write_text(content)
    before = names(tmp_path)
    with pytest.raises(InputError, match=words):
        write_report(tmp_path)
    assert names(tmp_path) == before


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is none of that name"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="it is a file"):
        write_report(tmp_path / "file")


# Curves -------------------------------------------------------------------------------------------------------------


def test_charts_are_of_what_was_measured(tmp_path):
    def titles(**options):
        write_log(tmp_path, log_lines(**options))
        return [chart.title for chart in charts_of(read_history(tmp_path))]

    continuous = ["Loss", "Loss terms", "PSNR", "PSNR by frames of videos", "SSIM"]
    continuous += ["Learning rate", "Gradient norm", "Speed", "Waiting for data"]
    assert titles() == continuous
    assert titles(discrete=True) == [*continuous[:5], "Codes in use", "Code perplexity", *continuous[5:]]


@given(st.integers(1, 5 * MOST_POINTS))
def test_long_series_keep_their_mean(count):
    values = np.random.default_rng(count).random(count)
    steps, means = thinned(Series("loss", range(1, count + 1), values.tolist()))
    assert len(steps) == min(count, MOST_POINTS)
    assert (np.diff(steps) > 0).all()
    assert np.abs(means.mean() - values.mean()) < 0.1
    if count % MOST_POINTS == 0:
        assert means.mean() == pytest.approx(values.mean())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.05, "0.05"), (0.00075, "7.5e-4"), (20, "20"), (12000, "12k"), (1.5e6, "1.5M"), (-0.3, "-0.3")],
)
def test_ticks_are_short(value, text):
    assert short(value) == text


def test_terms_that_fall_below_zero_and_odd_names(tmp_path):
    lines = log_lines(steps=500)
    for i, line in enumerate(lines):
        if line["kind"] == "train":
            line["terms"] = {"adversarial $\\x": 0.1 - i / 20, "l1": 1.0, "_hidden": 2.0}
    write_log(tmp_path, lines)
    chart = charts_of(read_history(tmp_path))[1]
    assert [series.name for series in chart.series] == ["adversarial $\\x", "l1", "_hidden"]
    assert not chart.logarithmic
    assert b"</svg>" in to_svg(chart)


# Console and trackers -----------------------------------------------------------------------------------------------


def show(lines, **options):
    with RunConsole("training x", 6000, **options) as shown:
        for line in lines:
            shown(line)


def test_lines_on_a_pipe(capsys):
    show(log_lines(discrete=True))
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].startswith("step 50 of 6,000: loss 0.2060, PSNR 19.36 dB, ")
    assert shown[0].endswith("waiting for data, 31 min left")
    assert shown[1].startswith("step 600 of 6,000: loss 0.1026")
    measured = "PSNR 23.73 dB, SSIM 0.6371, 15.5% of the codes in use, perplexity 1,800, "
    measured += "by frames of videos 1: 24.93 / 2-17: 24.43 / 18-33: 23.43, files that cannot be read: 1"
    assert shown[2] == f"step 600, validation: {measured}"
    assert len(shown) == 21  # no line of training within ten seconds of the one before, but those before validations
    assert shown[-2].startswith("step 6,000 of 6,000: loss 0.0454 (l1 0.0198, perceptual 0.0215, gram 0.0041)")
    assert shown[-2].endswith("2 steps skipped")


def test_every_line_where_they_come_slowly(capsys, monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", -1)
    show([line for line in log_lines() if line["kind"] == "train"][:5])
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["50", "100", "150", "200", "250"]


def test_skipped_steps_broken_files_and_a_time_limit(capsys):
    line = log_lines()[0] | {"loss": None, "psnr": None, "terms": {}, "skipped": 50}
    show([line, {"kind": "broken", "step": 50, "files": ["a.mp4: is damaged"]}], minutes=2)
    shown = capsys.readouterr().err.splitlines()
    assert "loss" not in shown[0] and "50 steps skipped, 2 min left" in shown[0]
    assert shown[1] == "left out: a.mp4: is damaged"


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    show(log_lines())
    shown = terminal.getvalue()
    assert "training x" in shown and "6000/6000" in shown and "━" in shown
    assert "step 5,400, validation: PSNR" in shown
    assert shown.rstrip().splitlines()[-1].lstrip("\x1b[2K1A\r").startswith("step 6,000 of 6,000: loss")


def test_tracker_values_are_flat_numbers():
    train, validation = log_lines(steps=1000, every=100, discrete=True)[-2:]
    values = tracker_values(train)
    assert values["loss/total"] == train["loss"]
    assert values["loss/l1"] == train["terms"]["l1"]
    assert values["train/psnr"] == train["psnr"]
    assert {"train/lr", "train/samples_per_second", "train/waiting", "train/grad_norm", "train/epoch"} < set(values)
    measured = tracker_values(validation)
    assert measured["validation/psnr"] == validation["psnr"]
    assert measured["validation/psnr_from_18"] == validation["psnr_by_place"]["18-33"]
    assert measured["validation/code_usage"] == validation["code_usage"]
    assert all(isinstance(value, float) for value in [*values.values(), *measured.values()])
    assert not {"validation/files", "validation/protocol", "train/kind", "train/step"} & (set(values) | set(measured))
    assert "loss/total" not in tracker_values(train | {"loss": None, "terms": {"l1": None}})


def test_tensorboard_gets_numbers_and_the_grid(tmp_path):
    pytest.importorskip("tensorboard")
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    row = sample("a", 32, 32)
    write_grid(tmp_path / "grid.png", [row])
    configuration = ProjectConfiguration(str(tmp_path), logging_dir=str(tmp_path))
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_config=configuration)
    accelerator.init_trackers("run")
    accelerator.log(tracker_values(log_lines()[0]), step=50)
    track_grid(accelerator, tmp_path / "grid.png", 50)
    accelerator.end_training()
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert events.Scalars("loss/l1")[0].value == pytest.approx(log_lines()[0]["terms"]["l1"])
    picture = Image.open(io.BytesIO(events.Images("validation/grid")[0].encoded_image_string))
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(tmp_path / "grid.png")))
