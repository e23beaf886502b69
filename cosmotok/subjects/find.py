"""Subjects by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cosmotok.errors import InputError
from cosmotok.subjects.autoencoders import PeerModel, peer
from cosmotok.subjects.interface import Subject
from cosmotok.subjects.ours import OurModel, ours
from cosmotok.subjects.peers import PREFIX
from cosmotok.subjects.published import PUBLISHED_PREFIX, PublishedModel, published

__all__ = ["find_subjects"]


def find_subjects(names: Sequence[str], precision: str = "float32") -> list[Subject]:
    """Subjects by name; nothing is loaded.

    `diffusers:Cosmos` gets the weights of the first of our models that it can express, so that their outputs can be
    compared.

    Args:
        names: ours as `Tokenizer.from_pretrained` takes them, also with `@int8` or `@compiled` behind; `published:NAME`
            for the same model in the published layout; `diffusers:NAME`, or `diffusers:PATH` for a folder or Hub id.
        precision: of ours that say none.

    Raises:
        UnknownModelError, InputError: for a name that nothing has, or no names.
        MissingExtraError: for peers without diffusers.
    """
    if not names:
        raise InputError("models: expected at least one name such as CV8x8x8 or diffusers:Wan")
    subjects = [find_subject(name, precision) for name in names]
    for name in (subject.name for subject in subjects):
        if [subject.name for subject in subjects].count(name) > 1:
            raise InputError(f"models: {name} is named twice")
    listed = [subject for subject in subjects if isinstance(subject, OurModel)]
    return [with_twin(subject, listed) for subject in subjects]


def with_twin(subject: Subject, listed: Sequence[OurModel]) -> Subject:
    """With the weights of the model of ours beside it that it can be compared with, if there is one."""
    if isinstance(subject, PeerModel) and subject.may_be_twin:
        fitting = [model for model in listed if model.has_twin]
        return replace(subject, twin=fitting[0]) if fitting else subject
    if isinstance(subject, PublishedModel):
        fitting = [model for model in listed if model.source == subject.twin.source]
        return replace(subject, twin=fitting[0]) if fitting else subject
    return subject


def find_subject(name: str, precision: str) -> Subject:
    if name.lower().startswith(PREFIX):
        return peer(name)
    if name.lower().startswith(PUBLISHED_PREFIX):
        return published(name)
    return ours(name, precision)
