"""Every error that cosmotok raises on purpose.

All derive from `CosmotokError`, so that a caller can catch them with one clause, and the command line
prints them as one line. A message names the file or argument, says what was expected and what came,
and what to do about it. Where Python has a fitting class of its own (`ValueError`, `OSError`), the
error is one of those too.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CosmotokError",
    "InputError",
    "MediaError",
    "MissingExtraError",
    "TokenFileError",
    "UnknownModelError",
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
    """An image or video file cannot be read or written."""


class TokenFileError(CosmotokError):
    """A token file is damaged, of another format version, or made by another model."""


class MissingExtraError(CosmotokError, ImportError):
    """A part was used whose optional dependencies are not installed."""
