"""cosmotok: the Cosmos Tokenizer (arXiv 2501.03575) for images and videos of any size and length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cosmotok.config import TokenizerConfig, list_models
from cosmotok.errors import CosmotokError

if TYPE_CHECKING:
    from cosmotok.tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = ["CosmotokError", "Tokenizer", "TokenizerConfig", "__version__", "list_models"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and much of the package does without it: `cosmotok --help`, for one.
    if name == "Tokenizer":
        from cosmotok.tokenizer import Tokenizer

        return Tokenizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
