"""Every error that cosmotok raises on purpose.

All derive from `CosmotokError`, so that a caller can catch them with one clause, and the command line
prints them as one line. A message names the file or argument, says what was expected and what came,
and what to do about it. Where Python has a fitting class of its own (`ValueError`, `OSError`), the
error is one of those too.
"""

from __future__ import annotations

import re

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CosmotokError",
    "InputError",
    "MediaError",
    "MissingExtraError",
    "SourceLostError",
    "TokenFileError",
    "UnknownModelError",
    "missing_extra",
    "out_of_memory",
]


class CosmotokError(Exception):
    """Base of all errors raised on purpose; its text is one line a user can act on."""


class InputError(CosmotokError, ValueError):
    """A tensor or an argument has the wrong rank, shape, dtype or range."""


class ConfigError(CosmotokError, ValueError):
    """A `TokenizerConfig` or a recipe holds values that do not fit together."""


class UnknownModelError(CosmotokError, LookupError):
    """No model, folder or file goes by that name."""


class CheckpointError(CosmotokError):
    """Weights are missing, misshapen, damaged or of a kind that cannot be read."""


class MediaError(CosmotokError, OSError):
    """An image or video cannot be read, or a file cannot be written."""


class SourceLostError(CosmotokError, ConnectionError):
    """The place that data comes from, or goes to, does not answer any more."""


class TokenFileError(CosmotokError):
    """A token file is damaged, of another format version, or made by another model."""


class MissingExtraError(CosmotokError, ImportError):
    """A part was used whose optional dependencies are not installed."""


def missing_extra(need: str, extra: str) -> MissingExtraError:
    """The error of a part whose packages are in the extra `extra`; `need` says what needs what."""
    return MissingExtraError(
        f'{need}: pip install "cosmotok[{extra}]", or in a checkout of its repository pip install ".[{extra}]"'
    )


def out_of_memory(error: BaseException) -> str | None:
    """Of an error by which Python, NumPy or PyTorch says that there is no memory left: how much was asked for, such as
    " (12.3 GB asked for)", or "" where it does not say; None for another error."""
    text = str(error)
    torch_says = "DefaultCPUAllocator" in text or "out of memory" in text
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and torch_says):
        return None
    if found := re.search(r"allocate (\d+) bytes", text):
        return f" ({int(found[1]) / 1e9:.1f} GB asked for)"
    found = re.search(r"allocate ([\d.]+ [KMGTPE]?i?B)", text)
    return f" ({found[1]} asked for)" if found else ""
