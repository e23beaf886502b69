"""Reads a data set of tokens: row by row, or as a stream to train on.

`shards` reads the files, `samples` makes tensors of rows, `order` says who reads which row when, `streams` keeps to it,
and `tokens` has the classes to train with.
"""

from cosmotok.dataset.reading.samples import collate
from cosmotok.dataset.reading.tokens import TokenBatches, TokenDataset

__all__ = ["TokenBatches", "TokenDataset", "collate"]
