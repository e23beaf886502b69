"""`cosmotok demo`: a page on which people try tokenizers, served by Gradio. Only `page` and `uploads` import that."""

from .limits import Limits
from .serve import serve

__all__ = ["Limits", "serve"]
