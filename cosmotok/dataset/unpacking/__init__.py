"""A data set of tokens as files of other formats: `unpack` goes through the rows, and a writer for each format."""

from cosmotok.dataset.unpacking.unpack import FORMATS, unpack

__all__ = ["FORMATS", "unpack"]
