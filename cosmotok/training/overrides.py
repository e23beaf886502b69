"""Recipes changed from a YAML file and from `key=value` on the command line."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cosmotok.config import suggest
from cosmotok.errors import ConfigError, missing_extra
from cosmotok.foreign import check_regular_file
from cosmotok.training.recipe import Recipe

__all__ = ["build", "override", "read_recipe", "to_yaml"]

T = TypeVar("T")


def override(recipe: Recipe, file: Path | None = None, assignments: Sequence[str] = ()) -> Recipe:
    """`recipe` with the values of a YAML file, then with those of assignments.

    Args:
        file: of the recipe's fields, nested as they are; a list replaces the recipe's whole list.
        assignments: such as `seed=1`, `stages.0.steps=100`, `data.train=[a, b]`, `optimizer.betas=[0.9, 0.99]`. Values
            are YAML, and may refer to others as `${stages.0.steps}`. A value replaces what was there, mappings too.

    Raises:
        ConfigError: for an unknown key, naming the nearest one; for a value of another type; for what makes no sense.
        MissingExtraError: without OmegaConf.
    """
    omegaconf = require_omegaconf()
    tree: Any = recipe.to_dict()
    if file is not None:
        merged = omegaconf.OmegaConf.merge(omegaconf.OmegaConf.create(tree), read_yaml(file))
        tree = omegaconf.OmegaConf.to_container(merged)
    for assignment in assignments:
        assign(tree, *parse(assignment))
    return build(Recipe, resolved(tree))


def read_recipe(file: Path) -> Recipe:
    """A whole recipe from a YAML file, such as the `recipe.yaml` of a run.

    Raises:
        ConfigError: where it is not one.
    """
    try:
        return build(Recipe, resolved(read_yaml(file)))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def to_yaml(recipe: Recipe) -> str:
    """All fields, as `read_recipe` reads them."""
    omegaconf = require_omegaconf()
    text: str = omegaconf.OmegaConf.to_yaml(omegaconf.OmegaConf.create(recipe.to_dict()))
    return text


def build(kind: type[T], values: Any, path: str = "") -> T:
    """The dataclass `kind` from plain values, its fields checked by their type hints.

    Args:
        path: of `values` in the whole, for messages.

    Raises:
        ConfigError: as `override`.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'recipe'}={values!r}: expected keys and values")
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    prefix = path + "." if path else ""
    for key in values:
        if key not in known:
            raise ConfigError(f"{prefix}{key}: unknown key{suggest(str(key), known)}")
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigError(f"{prefix}{name}: is missing, and has no default")
    return kind(**{name: convert(hints[name], value, prefix + name) for name, value in values.items()})


def convert(hint: Any, value: Any, path: str) -> Any:
    """`value` as the type that `hint` names."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint):
        return build(hint, value, path)  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return convert_to_any(hint, [a for a in arguments if a is not type(None)], value, path)
    if origin is Literal:
        if value is False and "no" in arguments:  # to YAML, an unquoted no is false
            return "no"
        if value not in arguments or isinstance(value, bool):
            raise ConfigError(f"{path}={value!r}: expected {one_of(arguments)}{suggest(str(value), arguments)}")
        return value
    if origin in (list, tuple, Sequence):
        return convert_items(hint, value, path)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}={value!r}: expected keys and values")
        return {
            convert(arguments[0], key, path): convert(arguments[1], item, f"{path}.{key}")
            for key, item in value.items()
        }
    return convert_plain(hint, value, path)


def convert_to_any(hint: Any, choices: list[Any], value: Any, path: str) -> Any:
    """`value` as the first of several types that it fits."""
    failures = []
    for choice in choices:
        try:
            return convert(choice, value, path)
        except ConfigError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    raise ConfigError(f"{path}={value!r}: expected {describe(hint)}, got {type(value).__name__}")


def convert_items(hint: Any, value: Any, path: str) -> Any:
    """Lists and tuples; a single text stands for a list of one."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(value, str) and arguments[0] in (str, Path):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{path}={value!r}: expected {describe(hint)}, got {type(value).__name__}")
    fixed = origin is tuple and Ellipsis not in arguments
    if fixed and len(value) != len(arguments):
        raise ConfigError(f"{path}={list(value)}: expected {describe(hint)}, got {len(value)} values")
    hints = arguments if fixed else [arguments[0]] * len(value)
    pairs = enumerate(zip(hints, value, strict=True))
    items = [convert(item_hint, item, f"{path}.{i}") for i, (item_hint, item) in pairs]
    return tuple(items) if origin is tuple else items


def convert_plain(hint: type, value: Any, path: str) -> Any:
    fine = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if fine:
        return value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float and number:
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():  # 1e6
        return int(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    quote = f"; quote it: {path}=\"'{value}'\"" if hint is str and number else ""
    raise ConfigError(f"{path}={value!r}: expected {describe(hint)}, got {type(value).__name__}{quote}")


WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
}


def describe(hint: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(a) for a in arguments)
    if origin is Literal:
        return one_of(arguments)
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)} values"
    if origin in (list, tuple, Sequence):
        return "a list"
    if origin in (dict, Mapping) or is_dataclass(hint):
        return "keys and values"
    return WORDS.get(hint, str(hint))


def one_of(choices: Sequence[Any]) -> str:
    return " or ".join(str(choice) for choice in choices)


def parse(assignment: str) -> tuple[list[str], Any]:
    """The parts of the key and the value of `key=value`."""
    omegaconf = require_omegaconf()
    key, equals, text = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"{assignment!r}: expected key=value, such as stages.0.steps=100 or data.train=FOLDER")
    try:
        parsed = omegaconf.OmegaConf.from_dotlist([f"value={text}"])
        return parts, omegaconf.OmegaConf.to_container(parsed)["value"]
    except Exception as error:  # the YAML parser's own errors have no common base with OmegaConf's
        raise ConfigError(f"{assignment!r}: the value is not valid YAML: {first_line(error)}") from None


def assign(tree: dict[Any, Any], key: Sequence[str], value: Any) -> None:
    """Puts `value` at `key` of a tree of mappings and lists; `build` refuses unknown fields later."""
    node: Any = tree
    for depth, part in enumerate(key[:-1], 1):
        place = position(node, part, key[:depth])
        child = node[place] if isinstance(node, list) else node.get(place)
        if not isinstance(child, (dict, list)):  # such as a weight that becomes a schedule
            child = node[place] = {}
        node = child
    node[position(node, key[-1], key)] = value


def position(node: Any, part: str, key: Sequence[str]) -> Any:
    """`part` as the key of a mapping or the index of a list."""
    if not isinstance(node, list):
        return int(part) if part.isdecimal() else part  # schedules are keyed by step
    if not part.isdecimal() or int(part) >= len(node):
        expected = f"a number from 0 to {len(node) - 1}" if node else "a whole list, since this one is empty"
        raise ConfigError(f"{'.'.join(key)}: expected {expected} after {'.'.join(key[:-1])}")
    return int(part)


def resolved(tree: Any) -> Any:
    """Plain values, with `${...}` replaced by what it refers to."""
    omegaconf = require_omegaconf()
    try:
        return omegaconf.OmegaConf.to_container(omegaconf.OmegaConf.create(tree), resolve=True)
    except omegaconf.errors.OmegaConfBaseException as error:
        raise ConfigError(f"recipe: {first_line(error)}") from None


def read_yaml(file: Path) -> Any:
    """The mapping in a YAML file."""
    omegaconf = require_omegaconf()
    try:
        check_regular_file(file)
        config = omegaconf.OmegaConf.load(file)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a pipe or device, or bytes that are no text
        raise ConfigError(f"{file}: {first_line(error)}; expected a YAML file") from None
    except Exception as error:  # the YAML parser's own errors have no common base with OmegaConf's
        raise ConfigError(f"{file}: not valid YAML: {first_line(error)}") from None
    if not omegaconf.OmegaConf.is_dict(config):
        raise ConfigError(f"{file}: expected the fields of a recipe, got a list")
    return config


def first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n    ")[0].split()) or type(error).__name__


def require_omegaconf() -> Any:
    try:
        import omegaconf
    except ImportError:
        raise missing_extra("training needs omegaconf", "train") from None
    return omegaconf
