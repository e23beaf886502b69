"""Subjects by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cosmotok.errors import InputError
from cosmotok.subjects.autoencoders import PeerModel, peer
from cosmotok.subjects.interface import Subject
from cosmotok.subjects.ours import OurModel, ours
from cosmotok.subjects.peers import PREFIX

__all__ = ["find_subjects"]


def find_subjects(names: Sequence[str], precision: str = "float32") -> list[Subject]:
    """Subjects by name; nothing is loaded.

    `diffusers:Cosmos` gets the weights of the first of our models that it can express, so that their outputs can be
    compared.

    Args:
        names: ours as `Tokenizer.from_pretrained` takes them, also with `@int8` behind; `diffusers:NAME`, or
            `diffusers:PATH` for a folder or Hub id.
        precision: of ours that say none.

    Raises:
        UnknownModelError, InputError: for a name that nothing has, or no names.
        MissingExtraError: for peers without diffusers.
    """
    if not names:
        raise InputError("models: expected at least one name such as CV8x8x8 or diffusers:Wan")
    subjects: list[Subject] = [
        peer(name) if name.lower().startswith(PREFIX) else ours(name, precision) for name in names
    ]
    for name in (subject.name for subject in subjects):
        if [subject.name for subject in subjects].count(name) > 1:
            raise InputError(f"models: {name} is named twice")
    expressible = [subject for subject in subjects if isinstance(subject, OurModel) and subject.has_twin]
    if not expressible:
        return subjects
    return [
        replace(subject, twin=expressible[0]) if isinstance(subject, PeerModel) and subject.may_be_twin else subject
        for subject in subjects
    ]
