"""Errors and remarks in the language of the locale.

The library speaks English, so that errors can be searched for and reported. The command knows the sentences of its
catalogue, in which `{}` stands for what varies, and translates those it prints; any other stays as it is.
"""

from __future__ import annotations

import re
from functools import lru_cache, reduce

from cosmotok import language
from cosmotok.language import translate as _

__all__ = ["CONTEXT", "translated"]

CONTEXT = "error"
"""Of such sentences in the catalogue, and of remarks."""
DEPTH = 3
"""Sentences within sentences, such as the reason within "cannot be read (reason)"."""
CHOICES = ("expected ", "may be ", "perhaps ")
"""After these several things may stand, with "or" between; elsewhere it may be part of a file's name."""


@lru_cache(maxsize=1)
def known(catalogue: object) -> list[tuple[re.Pattern[str], list[str], str]]:
    """Patterns of all sentences, those with most words first; what is before each of their gaps; their translations."""
    found = sorted(language.translations(CONTEXT).items(), key=lambda pair: -len(pair[0].replace("{}", "")))
    return [(pattern_of(sentence), sentence.split("{}")[:-1], words) for sentence, words in found]


def pattern_of(sentence: str) -> re.Pattern[str]:
    return re.compile("(.*?)".join(map(re.escape, sentence.split("{}"))), re.S)


def translated(message: str, depth: int = DEPTH) -> str:
    """The message in the language that is spoken, as far as its sentences are known."""
    for pattern, leads, words in known(language.catalogue):
        found = pattern.fullmatch(message)
        if found is not None:
            parts = list(found.groups())
            if depth:
                parts = [
                    alternatives(part, depth - 1) if lead.endswith(CHOICES) else translated(part, depth - 1)
                    for lead, part in zip(leads, parts, strict=True)
                ]
            return words.format(*parts)
    return message


def alternatives(text: str, depth: int) -> str:
    """One thing, or several that are joined with the language's word for "or"."""
    whole = translated(text, depth)
    if whole != text:
        return whole
    choices = (translated(choice, depth) for choice in text.split(" or "))
    return reduce(lambda one, other: _("{one} or {other}").format(one=one, other=other), choices)
