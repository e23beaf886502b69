"""Every kind of tokenizer that a name may stand for: one folder and one entry of `FAMILIES` each."""

from cosmotok.families.registry import (
    FAMILIES,
    Family,
    Request,
    family_of,
    find,
    find_among,
    is_known,
    known_names,
    register,
)

__all__ = ["FAMILIES", "Family", "Request", "family_of", "find", "find_among", "is_known", "known_names", "register"]
