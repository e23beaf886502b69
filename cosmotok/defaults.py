"""Numbers and names that the command line and the Python API share."""

__all__ = ["ATTENTION_CONTEXT", "DTYPES", "MAX_PIXELS"]

ATTENTION_CONTEXT = 32
"""Latent frames that temporal attention looks back on, from file to file, unless told otherwise: more than the
published models saw in training, and little enough that an hour of video takes no more memory than a minute."""

DTYPES = ("float32", "bfloat16", "float16")
"""That networks compute in, by PyTorch's names."""

MAX_PIXELS = 64_000_000
"""Of a frame that is read; a small file may hold a larger one, which would fill the memory."""
