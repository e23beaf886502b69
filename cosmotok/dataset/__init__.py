"""Whole collections of images and videos to tokens, once, to train on.

`sources` tell what there is, `shaping` what clips are made of it, `plan` fixes who makes which shard, a `worker` makes
one, `engines` run workers, and `storage` keeps what they made; `reading` has `TokenDataset`. See docs/datasets.md.
"""

from cosmotok.errors import missing_extra

try:
    import fsspec  # noqa: F401
    import pyarrow  # noqa: F401
except ImportError as missing:
    raise missing_extra(f"data sets need {missing.name}", "data") from None

from cosmotok.dataset.reading import TokenBatches, TokenDataset, collate

__all__ = ["TokenBatches", "TokenDataset", "collate"]
