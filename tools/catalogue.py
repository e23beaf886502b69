"""The catalogue of the command's texts, for translators: `make catalogue`.

Puts every text of the command into the .po file of each language, keeps the translations that are there, writes the
.mo file that is read at run time, and lists what has no translation yet. A text is what the help shows, what the
source marks with `_("...")`, or a name in `LABELS`. Sentences of errors may have a translation, too (`msgctxt "error"`,
with `{}` for what varies); those whose sentence is no longer in the source go. `--errors` lists those without one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from inspect import cleandoc
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

import cosmotok
from cosmotok.cli.app import PANELS, TEXTS, VERBS, command, parts
from cosmotok.sentences import CONTEXT
from cosmotok.training.console import VALIDATION_FIGURES

PACKAGE = Path(cosmotok.__file__).parent
LOCALES = PACKAGE / "locale"
UNDATED = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""Of every catalogue, so that renewing one without new texts changes nothing."""
TYPER = ("[default: {}]", "[required]", "Arguments", "Options", "Commands", "Error", "Aborted.")
"""Words of the library that prints help, which takes them from the same catalogue."""
LABELS = """
what path width height frames frame_rate seconds audio codec pixel_format model name hub kind variant output size tokens
latents indices constant_rate attention_context chunk positions files from to parameters fingerprint halves
config_version spatial_factor temporal_factor patch channels encoder_multipliers decoder_multipliers blocks z_channels
latent_channels legacy_mode linear_shortcut planned done filtered quarantined rows bytes shards running layers clips
image video token_file complete inputs sources signals options mean std vocab_size compression data_set latent_dtype
same close other not_reached shards_done encoder decoder encode decode weights average gradients optimizer activations
workspace
"""
"""Names of facts as `cosmotok info` and others print them, and values that are words."""


REFUSALS = (
    "No such option: {}",
    "No such option: {} (Possible options: {})",
    "No such command '{}'",
    "No such command '{}'. Did you mean '{}'?",
    "Missing argument '{}'",
    "Missing option '{}'",
    "Got unexpected extra argument(s) ({})",
    "Option '{}' requires an argument",
    "Invalid value for '{}': {}",
    "Input should be a valid integer, unable to parse string as an integer",
    "Input should be a valid number, unable to parse string as a number",
    "Input should be greater than or equal to {}",
    "{}; did you mean {}?",
    "{}; did you mean {} or {}?",
    "No such file or directory",
    "Permission denied",
    "No space left on device",
    "Is a directory",
)
HEADINGS = (
    *("Images", "Videos", "Videos by frame, PSNR in dB", "Temporal PSNR", "Sharpness", "Bits per pixel", "Speed"),
    *(words for words, _ in VALIDATION_FIGURES.values()),
)
"""Titles of tables and columns that are chosen as a program runs."""
KINDS = ("FSQ indices below {}", "vectors of {} x {} bits")
"""What a `ClipReport` says of its tokens."""


def help_texts() -> Iterator[str]:
    """What `--help` shows of the command and its verbs."""
    yield from (*VERBS, *PANELS, *TYPER)
    for part in parts(command(lambda debug: None)):
        yield from (cleandoc(text) for name in TEXTS if isinstance(text := getattr(part, name, None), str) and text)


def marked_texts() -> Iterator[str]:
    """What the source marks as a text to be translated."""
    for _, _, text, _, _ in extract_from_dir(PACKAGE, [("**.py", "python")], keywords={"_": None, "translate": None}):
        yield text


def sentences() -> set[str]:
    """What errors may say: texts of the source, with `{}` for what varies, and those of other libraries."""
    return {*REFUSALS, *(text for tree in sources() for node in ast.walk(tree) if (text := text_of(node)))}


def raised() -> set[str]:
    """What errors say that the source raises by name."""
    calls = (node.exc for tree in sources() for node in ast.walk(tree) if isinstance(node, ast.Raise))
    return {text for call in calls if isinstance(call, ast.Call) and call.args and (text := text_of(call.args[0]))}


def sources() -> Iterator[ast.Module]:
    return (ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py"))


def text_of(node: ast.AST) -> str:
    """Of a text in the source, "" for anything else."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def texts() -> dict[str, None]:
    """All of them, in the order in which they are met."""
    found = [*help_texts(), *marked_texts(), *KINDS, *HEADINGS, *(label.replace("_", " ") for label in LABELS.split())]
    return dict.fromkeys(found)


def languages() -> list[str]:
    return sorted(folder.name for folder in LOCALES.iterdir() if folder.is_dir())


def po_file(language: str) -> Path:
    return LOCALES / language / "LC_MESSAGES" / "cosmotok.po"


def read(language: str) -> Catalog:
    with po_file(language).open("rb") as file:
        return read_po(file, locale=language)


def renewed(language: str) -> Catalog:
    """The language's catalogue with all texts and no others."""
    before = read(language) if po_file(language).exists() else Catalog()
    catalogue = Catalog(
        language,
        header_comment=f"# The texts of the command `cosmotok`, in {language}; `make catalogue` renews this file.",
        project="cosmotok",
        version="",
        last_translator="The cosmotok authors",
        msgid_bugs_address="",
        language_team=language,
        fuzzy=False,
        creation_date=UNDATED,
        revision_date=UNDATED,
    )
    for text in texts():
        known = before.get(text)
        catalogue.add(text, known.string if known else "")
    said = sentences()
    for message in before:
        if message.context == CONTEXT and message.id in said:
            catalogue.add(message.id, message.string, context=CONTEXT)
    return catalogue


def fields(text: str) -> set[str]:
    """Placeholders in a text."""
    return set(re.findall(r"\{\w*\}", text))


def write(language: str, catalogue: Catalog) -> None:
    def to(path: Path, writer: Callable[..., Any], **options: Any) -> None:
        with path.open("wb") as file:
            writer(file, catalogue, **options)

    to(po_file(language), write_po, width=110, omit_header=False)
    to(po_file(language).with_suffix(".mo"), write_mo)


def main() -> None:
    if sys.argv[1:] == ["--errors"]:
        known = {message.id for language in languages() for message in read(language) if message.context == CONTEXT}
        print(*sorted(raised() - known), sep="\n")
        return
    missing = 0
    for language in languages():
        po_file(language).parent.mkdir(exist_ok=True)
        catalogue = renewed(language)
        write(language, catalogue)
        for message in catalogue:
            if message.id and not message.string:
                print(f"{language}: no translation of {message.id!r}")
                missing += 1
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
