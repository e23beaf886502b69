"""Addresses without what is secret in them: passwords, tokens, and signatures of links that open for a while."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from functools import lru_cache
from urllib.parse import quote, unquote

__all__ = ["expired", "public", "told"]

END = r"\s\"<>\0#\\"
"""What ends a query, in text and in JSON; "::" does, too."""
LOGIN = re.compile(rf"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*)://([^/?{END}]*)@")
QUERY = re.compile(rf"\?([^:{END}]*(?::(?!:)[^:{END}]*)*)")
FIELD = re.compile(rf"&([^&:{END}]*(?::(?!:)[^&:{END}]*)*)")
SECRET = re.compile(
    "token|signature|secret|passw|pwd|credential|jwt|(api|access|account|private|session)[-_]?key|accessid"
    "|^(sig|sas|auth|authorization|auth[-_].*|hdnea|hdnts|hdntl|key-pair-id)$",
    re.IGNORECASE,
)
"""Names of fields of a query; `key` and sessions count if their values are no paths and no numbers."""
PASSING = re.compile(
    r"^(x-(amz|goog|oss|obs|cos|tos|bce|ms)-.*|q-.*|expires?|expiry|exp|policy|ts|timestamp|nonce|response-.*"
    r"|algorithm|s[veprst]|spr|srt|sip|si|sk\w+|saoid|suoid|scid|sdd|rsc[cdelt])$",
    re.IGNORECASE,
)
"""Names of fields that differ from one signed link to the next of the same file: S3, GCS, Azure and their like."""
CLOCKS = 60.0
"""Seconds."""
SHORT = 3
"""Characters of what could be in any text by chance."""
KEY = re.compile(r"[\w-]{16,}", re.ASCII)
PART = re.compile(r"[?&][^?&]*")
"""Of a query: a field, and what is before it; a URL in a query may have a query of its own."""


def public(text: str) -> str:
    """A URL, or any text with URLs in it, without secrets: the same file's is the same, whoever signed it, and when.

    What else a query says, such as `id=7` or `versionId=...`, stays.
    """
    if "://" not in text:
        return text
    text = QUERY.sub(_query, LOGIN.sub(_login, text))
    return FIELD.sub(lambda match: "" if _is_secret(match[1]) else match[0], text)  # behind a space in a query


def expired(url: str) -> bool:
    """Whether a signed link says that it opens no longer, or not much longer, as clocks differ."""
    fields = dict(field.partition("=")[::2] for query in QUERY.findall(url) for field in query.split("&"))
    facts = {unquote(name).lower(): unquote(value) for name, value in fields.items()}
    try:
        for kind in ("amz", "goog"):
            if f"x-{kind}-date" in facts:
                begin = datetime.strptime(facts[f"x-{kind}-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
                return begin.timestamp() + float(facts[f"x-{kind}-expires"]) < time.time() + CLOCKS
        if "sig" in facts and "se" in facts:
            return datetime.fromisoformat(facts["se"].replace("Z", "+00:00")).timestamp() < time.time() + CLOCKS
        return float(facts.get("expires", "inf")) < time.time() + CLOCKS
    except (ValueError, KeyError, OverflowError):
        return False


def told(error: object, url: str) -> str:
    """What an error about a URL says, without the URL's secrets, in whatever form it has them."""
    text = public(str(error))
    passwords = [login.partition(":")[2] for _, login in LOGIN.findall(url)]
    fields = [field for query in QUERY.findall(url) for field in query.split("&") if _is_secret(field)]
    for secret in (*passwords, *(field.partition("=")[2] for field in fields)):
        for form in (secret, unquote(secret)):
            text = text.replace(form, "...") if len(form) > SHORT else text
    return text


def _login(match: re.Match[str]) -> str:
    """Web servers show everybody the same names; elsewhere, the user may say which files are meant."""
    if match[1].lower() in ("http", "https"):
        return f"{match[1]}://"
    user, colon, _ = match[2].partition(":")
    return f"{match[1]}://{user}@" if colon else match[0]


def _query(match: re.Match[str]) -> str:
    parts = PART.findall(match[0])
    if not any(_is_secret(part[1:]) for part in parts):
        return "".join(map(_without, parts))
    kept = [part for part in parts if not _is_secret(part[1:]) and _kind(part[1:].partition("=")[0]) != "passing"]
    rest = "".join(map(_without, kept)).lstrip("?&")
    return f"?{rest}" if rest else ""


def _without(part: str) -> str:
    """A part of a query; if its value is a URL, as that is written there, this without secrets."""
    name, equals, value = part.partition("=")
    inner = unquote(value)
    shown = public(inner) if inner != value else value
    return part if shown == inner else f"{name}{equals}{quote(shown, safe='')}"


def _is_secret(field: str) -> bool:
    """Of names alone there is nothing to hide, and "/" is in paths: a question mark may be part of a pattern."""
    name, equals, value = field.partition("=")
    if not equals or "/" in name:
        return False
    kind = _kind(name)
    return kind == "secret" or (kind == "key" and KEY.fullmatch(value) is not None)


@lru_cache(1000)
def _kind(name: str) -> str:
    """Of a field; of millions of links, they have few names."""
    name = unquote(name).lower()
    if SECRET.search(name):
        return "secret"
    return "passing" if PASSING.search(name) else "key" if name == "key" or "session" in name else ""
