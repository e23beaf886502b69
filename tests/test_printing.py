"""What the command prints is text, whatever names it has to show."""

from __future__ import annotations

from cosmotok.printing import print_table, say, show
from cosmotok.progress import Progress

HOSTILE = "a[bold]\x1b[2J\rb\x07\u202ec.mp4"


def test_no_name_moves_the_cursor(capsys):
    say(HOSTILE)
    print_table((HOSTILE, "b"), [(HOSTILE, "1")])
    show({"output": HOSTILE, "tokens": 3}, as_json=False)
    out, err = capsys.readouterr()
    for text, times in ((out, 3), (err, 1)):
        assert all(letter.isprintable() or letter == "\n" for letter in text)
        assert text.count("a[bold]�[2J�b��c.mp4") == times


def test_no_name_moves_the_cursor_from_a_progress_bar(capsys, monkeypatch):
    monkeypatch.setattr("cosmotok.progress.SECONDS_BETWEEN_LINES", 0)
    with Progress(HOSTILE, 3) as bar:
        bar.advance(1)
    assert capsys.readouterr().err.startswith("a[bold]�[2J�b��c.mp4: 1 of 3")


def test_facts_are_in_words(capsys):
    facts = {
        "frame_rate": 29.97002997,
        "parameters": 1409392,
        "levels": [],
        "size": (60, 270),
        "audio": True,
        "hub": None,
    }
    show(facts, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines == [
        ["frame", "rate", "29.97"],
        ["parameters", "1,409,392"],
        ["size", "60", "x", "270"],
        ["audio", "yes"],
    ]


def test_slow_things_have_a_line_each(capsys):
    with Progress("exporting m", None, "graphs") as bar:
        bar.turn("encoder", 0, 2)
        bar.turn("decoder", 1, 2)
        bar.turn("verify", 2, 2)
    assert capsys.readouterr().err.splitlines() == [
        "exporting m: 0 of 2 graphs, encoder",
        "exporting m: 1 of 2 graphs, decoder",
        "exporting m: 2 of 2 graphs, verify",
    ]


def test_the_last_line_of_progress_says_all_that_was_done(capsys, monkeypatch):
    monkeypatch.setattr("cosmotok.progress.SECONDS_BETWEEN_LINES", 0)
    with Progress("reading", 3) as bar:
        bar.advance(1)
        monkeypatch.setattr("cosmotok.progress.SECONDS_BETWEEN_LINES", 60)
        bar.advance(2)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("reading: 1 of 3 frames, ") and last.startswith("reading: 3 of 3 frames, ")
    with Progress("reading", 3) as bar:  # nothing was said, so nothing is to be put right
        bar.advance(3)
    assert capsys.readouterr().err == ""


def test_lines_of_a_remark_stay_apart(capsys):
    say("one\ntwo")
    assert capsys.readouterr().err == "one\ntwo\n"
