"""The language that the command speaks: the locale's where there is a catalogue of it, else English.

The library itself always speaks English: nothing here has an effect before `speak`, which the command alone calls.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["find_language", "number", "speak", "translate", "translations"]

DOMAIN = "cosmotok"
FOLDER = Path(__file__).parent / "locale"
"""LANGUAGE/LC_MESSAGES/cosmotok.po is for translators, and .mo beside it is read; `make catalogue` renews both."""

catalogue = gettext.NullTranslations()


def find_language(environment: Mapping[str, str]) -> str | None:
    """The catalogue that an environment asks for, as gettext understands it; None for English.

    The first of LC_ALL, LC_MESSAGES and LANG that is set says the language, unless LANGUAGE lists others; a locale C
    means English whatever LANGUAGE says. A country without a catalogue takes another's of its language.
    """
    locale = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environment.get(name))), "C")
    if plain(locale) in ("C", "POSIX"):
        return None
    known = sorted(file.parents[1].name for file in FOLDER.glob(f"*/LC_MESSAGES/{DOMAIN}.mo"))
    for wanted in filter(None, (environment.get("LANGUAGE") or locale).split(":")):
        name = plain(wanted)
        if name.partition("_")[0] == "en":
            return None
        for found in (name, *known):
            if found in known and found.partition("_")[0] == name.partition("_")[0]:
                return found
    return None


def plain(locale: str) -> str:
    """pt_BR of pt_BR.UTF-8@latin."""
    return locale.partition(".")[0].partition("@")[0]


def speak(environment: Mapping[str, str] | None = None) -> None:
    """From now on `translate` gives the environment's language, and so do the libraries that print for the command."""
    global catalogue
    language = find_language(os.environ if environment is None else environment)
    if language is None:
        catalogue = gettext.NullTranslations()
        gettext.textdomain("messages")  # Python's own default
        return
    catalogue = gettext.translation(DOMAIN, FOLDER, [language])
    gettext.bindtextdomain(DOMAIN, FOLDER)
    gettext.textdomain(DOMAIN)
    os.environ["LANGUAGE"] = language


def translate(text: str) -> str:
    """`text` in the language that is spoken; as it is where that has no translation."""
    return catalogue.gettext(text) if text else text


def translations(context: str) -> dict[str, str]:
    """All texts of a context of the catalogue, and what they are in the language that is spoken."""
    entries: dict[str, str] = getattr(catalogue, "_catalog", {})  # which gettext keeps to itself
    begin = f"{context}\x04"
    return {text[len(begin) :]: words for text, words in entries.items() if str(text).startswith(begin)}


def number(text: str) -> str:
    """A number as English writes it, 1,234.5, as the language does."""
    point, comma = translate("1,234.5")[-2], translate("1,234.5")[1]
    return text.translate(str.maketrans(".,", point + comma))
