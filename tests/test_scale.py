"""The simulation behind docs/scale.md, small: what it asserts of plan, records and restart holds."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import scale


def test_killed_and_undisturbed_make_the_same(tmp_path):
    table, entry = scale.simulate(3000, 3, tmp_path)
    figures = dict(line.strip("| ").split(" | ") for line in table.splitlines()[2:])
    done, bad = (int(figures[name].replace(",", "")) for name in ("done", "quarantined"))
    assert done + bad == 3000
    assert 0 < bad < 30
    assert int(figures["shards begun"]) > int(figures["shards"]) == 12
    assert 100 < entry < 400


def test_a_clip_is_counted_as_the_bill_counts_it():
    header, _, *rows = scale.bill(200).splitlines()
    assert {row.count("|") for row in (header, *rows)} == {11}
    frames = scale.PETABYTE / scale.CLIP_BYTES * scale.CLIP_FRAMES
    assert frames == scale.PETABYTE * 8 / scale.BITRATE * scale.RATE
    assert f"{frames * 34.8 / 3.6e6:,.0f}" in rows[0]
