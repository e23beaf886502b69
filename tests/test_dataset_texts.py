"""Captions and metadata of any length and with anything in them."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_tokenize import MODEL, SMALL, clips, rows_of  # noqa: F401 - a fixture

from cosmotok.dataset.rows import GROUP_BYTES, RowFile
from cosmotok.dataset.run import tokenize
from cosmotok.dataset.schema import row_schema
from cosmotok.spec import TokenizerSpec


@pytest.mark.parametrize("name", ["caption", "metadata"])
def test_a_row_group_ends_by_all_that_its_rows_hold(made_row: dict, name: str) -> None:
    row, spec = made_row
    packed = io.BytesIO()
    rows = RowFile(packed, row_schema(spec, "float16", {}))  # type: ignore[arg-type]
    for _ in range(50):
        rows.write({**row, name: "\u00fc" * 1_000_000})
    rows.close()
    about = pq.read_metadata(packed)
    sizes = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
    assert sizes == [8] * 6 + [2] and GROUP_BYTES // 2_000_000 == 8


@pytest.fixture
def made_row(clips: Path, tmp_path: Path) -> tuple[dict, TokenizerSpec]:  # noqa: F811
    manifest = tokenize([str(clips / "photo.png")], str(tmp_path / "one"), MODEL, options=SMALL)
    return rows_of(tmp_path / "one")[0], manifest.spec
