"""The families of tokenizers, and the one way from a name to a model. No torch until a family looks for a model."""

from __future__ import annotations

import logging
import os
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmotok.config import find_model
from cosmotok.errors import CheckpointError, InputError, UnknownModelError
from cosmotok.foreign import one_line

if TYPE_CHECKING:
    from cosmotok.interface import Model

__all__ = ["FAMILIES", "Family", "Request", "family_of", "find", "find_among", "is_known", "known_names", "register"]

log = logging.getLogger(__name__)

ENTRY_POINTS = "cosmotok.families"
"""Group of entry points by which another package adds families of its own."""


@dataclass(frozen=True)
class Request:
    """What a model is asked for by. A family gets no option that it does not list in `Family.options`."""

    name: str
    variant: str | None = None
    """Published name of what files hold, where they do not tell."""
    precision: str | None = None
    """"int8" or "compiled"; None: as the dtype has it."""
    fit: Path | None = None
    """Folder of images and clips that the model is fitted to."""
    stand_in: bool = False
    """Whether random weights will do where none are at hand, as for measuring speed."""


@dataclass(frozen=True)
class Family:
    """One kind of tokenizer."""

    title: str
    """In messages: "the KLT takes no --variant"."""
    claims: Callable[[str], bool]
    """Whether a name is meant for this family; it may still be wrong."""
    find: Callable[[Request], Model]
    """The model of that name; loads no weights.

    Raises:
        UnknownModelError, InputError, MissingExtraError: in one line with the remedy.
    """
    names: Callable[[], Sequence[str]] = tuple
    """Those known beforehand, for suggestions."""
    options: frozenset[str] = frozenset()
    """Fields of `Request` that it goes by, besides the name and `stand_in`."""


FAMILIES: dict[str, Family] = {}
"""By name. The family `cosmos` gets what no other claims."""


def register(name: str, family: Family) -> None:
    """Adds a family, or replaces that of the same name."""
    FAMILIES[name] = family


def family_of(name: str) -> Family:
    """The family whose a model's name is.

    Raises:
        InputError: for what cannot even be looked up: too long, in a circle of links, of an unknown user, and so on.
    """
    for text in (name, name.partition(":")[2]):
        try:
            Path(text).expanduser().stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or one_line(error).rstrip(".")
            raise InputError(f"model {one_line(name)}: cannot be looked up ({reason}); check the path") from None
    for key, family in FAMILIES.items():
        if key != "cosmos" and family.claims(name):
            return family
    return FAMILIES["cosmos"]


def find(
    name: str,
    *,
    variant: str | None = None,
    precision: str | None = None,
    fit: Path | None = None,
    stand_in: bool = False,
) -> Model:
    """The model called `name`, of whichever family; see `Request` for the options. No weights are loaded.

    Raises:
        UnknownModelError: where nothing goes by that name; suggests the nearest.
        InputError: for a name that makes no sense, or an option that the family does not take.
        MissingExtraError: where a package is missing; says which.
    """
    if not name.strip():
        raise InputError("model: expected a name, a path or a Hub id, got an empty text; `cosmotok models` lists names")
    family = family_of(name)
    for option, value in (("variant", variant), ("precision", precision), ("fit", fit)):
        if value is not None and option not in family.options:
            raise InputError(f"{name}: {family.title} takes no --{option}; leave it out")
    return family.find(Request(name, variant, precision, fit, stand_in))


def find_among(name: str, **options: Any) -> Model:
    """As `find`, for one of several models: where its files are damaged, it is it alone that fails, once it is asked
    for anything."""
    try:
        return find(name, **options)
    except CheckpointError as error:
        from cosmotok.interface import DamagedModel

        return DamagedModel(name, str(error))


def known_names() -> list[str]:
    """All names known beforehand."""
    return [name for family in FAMILIES.values() for name in family.names()]


def is_known(name: str) -> bool:
    """Whether `name` means a bundled or published model, rather than some path or anyone's repository."""
    plain = name.partition("@")[0]
    try:
        return bool(find_model(plain)) and not os.path.lexists(plain) and not os.path.lexists(name)
    except UnknownModelError:
        return plain.lower() in map(str.lower, known_names())


def _discover() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.ispkg:
            register(module.name, import_module(f"cosmotok.families.{module.name}").FAMILY)
    for entry in entry_points(group=ENTRY_POINTS):
        register(entry.name, _from_elsewhere(entry))


def _from_elsewhere(entry: EntryPoint) -> Family:
    """The family of another package; in the place of one that cannot be imported, a family that says so of the names
    that begin with the entry's. The others stay of use."""
    try:
        family = entry.load()
        if not isinstance(family, Family):
            raise TypeError(f"{entry.value} is no cosmotok.families.Family")
    except (Exception, SystemExit) as error:
        package = f" of the package {entry.dist.name}" if entry.dist else ""
        reason = f"the family {entry.name}{package} cannot be used ({type(error).__name__}: {one_line(error, 200)})"
    else:
        return family
    if parent_process() is None:  # not once more in each worker
        log.warning("%s; its models are left out: update or remove the package", reason)

    def refuse(asked: Request) -> Model:
        raise InputError(f"{asked.name}: {reason}; update or remove the package")

    prefix = f"{entry.name}:".lower()
    return Family(
        entry.name,
        lambda name: name.lower().startswith(prefix),
        refuse,
        options=frozenset({"variant", "precision", "fit"}),
    )


_discover()
