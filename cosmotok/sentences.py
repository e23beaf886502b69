"""Errors and remarks in the language of the locale.

The library speaks English, so that errors can be searched for and reported. The command knows the sentences of its
catalogue, in which `{}` stands for what varies, and translates those it prints; any other stays as it is.
"""

from __future__ import annotations

import re
from functools import lru_cache

from cosmotok import language

__all__ = ["CONTEXT", "translated"]

CONTEXT = "error"
"""Of such sentences in the catalogue, and of remarks."""
DEPTH = 3
"""Sentences within sentences, such as the reason within "cannot be read (reason)"."""


@lru_cache(maxsize=1)
def known(catalogue: object) -> list[tuple[re.Pattern[str], str]]:
    """Patterns of all sentences, those with most words first, and their translations."""
    found = sorted(language.translations(CONTEXT).items(), key=lambda pair: -len(pair[0].replace("{}", "")))
    return [(pattern_of(sentence), words) for sentence, words in found]


def pattern_of(sentence: str) -> re.Pattern[str]:
    return re.compile("(.*?)".join(map(re.escape, sentence.split("{}"))), re.S)


def translated(message: str, depth: int = DEPTH) -> str:
    """The message in the language that is spoken, as far as its sentences are known."""
    for pattern, words in known(language.catalogue):
        found = pattern.fullmatch(message)
        if found is not None:
            parts = [translated(part, depth - 1) if depth else part for part in found.groups()]
            return words.format(*parts)
    return message
