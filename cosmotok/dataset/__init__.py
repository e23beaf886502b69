"""Whole collections of images and videos to tokens, once, to train on.

`sources` tell what there is, `shaping` what clips are made of it, `plan` fixes who makes which shard, a `worker` makes
one, `engines` run workers, and `store` keeps what they made; `TokenDataset` reads it. See docs/datasets.md.
"""
