"""Which columns of a list or a table are what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cosmotok.config import suggest
from cosmotok.errors import InputError
from cosmotok.foreign import one_line

__all__ = ["CAPTIONS", "MEDIA", "Columns"]

MEDIA = ("path", "file", "file_name", "video", "image", "url")
"""Names of the column that says where an image or video is, the first of these that is there."""
CAPTIONS = ("caption", "text")


@dataclass(frozen=True)
class Columns:
    """What the user calls the columns of lists and tables; None for the usual names."""

    media: str | None = None
    """Of images or videos; else the first of `MEDIA`."""
    caption: str | None = None
    """Of captions; else the first of `CAPTIONS`, if there is one."""

    def chosen(self, source: str, names: Iterable[str], usual: Iterable[str] = MEDIA) -> tuple[str, str | None]:
        """The columns of media and captions among `names`.

        Raises:
            InputError: where there is none of media, or not the one that was asked for.
        """
        names = list(names)
        media = _named("images or videos", self.media, source, names) or _first(usual, names)
        if media is None:
            raise InputError(
                f"{source}: expected a column called {', '.join(MEDIA[:-1])} or {MEDIA[-1]}, got "
                f"{one_line(', '.join(names[:20]), 200) or 'none'}; name the one with the images or videos"
            )
        return media, _named("captions", self.caption, source, names) or _first(CAPTIONS, names)


def _named(what: str, name: str | None, source: str, names: list[str]) -> str | None:
    if name is not None and name not in names:
        raise InputError(f"{source}: no column {one_line(name)} for {what}{suggest(name, names[:1000])}")
    return name


def _first(usual: Iterable[str], names: list[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in usual if name in lower), None)
