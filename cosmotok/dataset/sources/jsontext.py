"""Columns of tables as JSON objects, one for each row, without a step in Python for each where that can be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["json_of", "objects", "parsed", "plain", "repaired"]

_ODD = re.compile("[\0\ud800-\udfff]")


def objects(columns: Mapping[str, pa.Array], rows: int) -> pa.Array:
    """`rows` JSON objects with a member for each column; what is null or no finite number is left out.

    Raises:
        pa.ArrowInvalid: for text that is no UTF-8.
    """
    members = [_members(name, column) for name, column in columns.items()]
    if not members:
        return pa.array(["{}"] * rows, pa.string())
    # Not with null_handling="skip": pyarrow 26 loses rows that are null in all columns.
    texts = pc.binary_join_element_wise("{", *members, "}", "", null_handling="replace", null_replacement="")
    return pc.replace_substring(texts, "{, ", "{", max_replacements=1)


def _members(name: str, column: pa.Array) -> pa.Array:
    """Texts such as `, "name": 5`, or null."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    start = f", {json_of(name)}: "
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column.validate(full=True)
        column = column.cast(pa.string())
        if not pc.any(pc.match_substring_regex(column, r"[\x00-\x1f]")).as_py():
            escaped = pc.replace_substring(pc.replace_substring(column, "\\", "\\\\"), '"', '\\"')
            return pc.binary_join_element_wise(start + '"', escaped, '"', "")
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pc.binary_join_element_wise(start, column.cast(pa.string()), "")
    elif pa.types.is_float64(kind):
        finite = pc.if_else(pc.is_finite(column), column, None).to_pylist()
        return pa.array([None if number is None else start + repr(number) for number in finite], pa.string())
    texts = [None if value is None else start + json_of(value) for value in map(plain, _listed(column))]
    return pa.array(texts, pa.string())


def _listed(column: pa.Array) -> list[Any]:
    """Values of a column; None for times that Python has no type for."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        raise
    except (OverflowError, ValueError, KeyError):  # out of range, finer than microseconds, or in a zone of no name
        return [_value(cell) for cell in column]


def _value(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        raise
    except (OverflowError, ValueError, KeyError):
        return None


def json_of(value: Any) -> str:
    return repaired(json.dumps(value, ensure_ascii=False))


def repaired(text: str) -> str:
    """With U+FFFD for halves of characters, which JSON can have and UTF-8 cannot, and for NUL, which ends a text in
    programs in C."""
    return _ODD.sub("\ufffd", text)


def parsed(text: str | bytes) -> Any:
    """JSON as `plain` has it, so that NaN, which many write, is None.

    Raises:
        ValueError: where it is none.
    """
    try:
        return plain(json.loads(text))
    except RecursionError:
        raise ValueError("brackets nested too deeply") from None


def plain(value: Any) -> Any:
    """`value` as JSON can have it: times as text, texts `repaired`, no bytes, None for what is no finite number."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return repaired(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {repaired(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return None
    return repaired(str(value))
