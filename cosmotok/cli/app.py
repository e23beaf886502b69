"""The command's root: its help, its options, and what an error looks like."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from inspect import cleandoc
from typing import Annotated, Any

import typer

from cosmotok.addresses import public
from cosmotok.errors import CosmotokError, InputError, out_of_memory
from cosmotok.foreign import one_line
from cosmotok.language import translate as _
from cosmotok.printing import say
from cosmotok.sentences import translated

__all__ = ["app", "main"]

INTERRUPTED = 130

VERBS = {
    "Clips and photos": ("reconstruct", "encode", "decode", "info"),
    "Data sets": ("tokenize", "verify", "unpack", "stats"),
    "Measuring": ("evaluate", "compare", "benchmark"),
    "Models": ("models", "train", "convert", "calibrate", "export"),
    "A page to try it on": ("demo",),
}
"""Of the command's help, by topic."""
PANELS = {
    "Model": {"model", "models", "variant", "precision", "fit", "weights", "revision", "recipe", "config", "baseline"},
    "Source": {
        "frames",
        "size",
        "max_pixels",
        "max_frames",
        "data",
        "reference",
        "reconstruction",
        "changed",
        "most_quarantined",
    },
    "Rows": {"row", "sample", "seed"},
    "Clips": {"frame_rate", "short_side", "segment", "overlap", "scenes", "min_frames", "min_side"},
    "Workers": {"engine", "workers", "address", "cpus", "gpus", "shard_inputs"},
    "Measuring": {"protocol", "metrics", "lpips_weights", "inception_weights", "i3d_weights", "rounds"},
    "Computing": {"device", "dtype", "attention_context", "batch", "threads", "jobs"},
    "Serving": {"host", "port"},
    "Output": {
        "output",
        "to",
        "side_by_side",
        "latent_dtype",
        "status",
        "json",
        "plot",
        "resume",
        "dry_run",
        "check_data",
    },
}
"""Of a verb's help: its options by topic."""
TEXTS = ("help", "epilog", "metavar", "options_metavar", "subcommand_metavar")
"""Attributes of commands and options that are words."""

app = typer.Typer(
    name="cosmotok",
    help="Images and videos to compact tokens and back, with the Cosmos Tokenizer.",
    epilog="Start with: cosmotok reconstruct clip.mp4",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def cosmotok(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        from cosmotok import __version__

        print(f"cosmotok {__version__}")
        raise typer.Exit


def command(debug: Callable[[bool], None]) -> Any:
    """The command with all its verbs, each of which takes `--debug`; `debug` is told whether it was given."""
    root: Any = typer.main.get_command(app)
    option = next(option for option in root.params if option.name == "debug")
    option.expose_value, option.is_eager = False, True  # known before another option is refused
    option.callback = lambda context, parameter, given: debug(given)
    for verb in root.commands.values():
        verb.params.append(option)
    topics = {name: title for title, verbs in VERBS.items() for name in verbs}
    for name, verb in root.commands.items():
        verb.rich_help_panel = _(topics.get(name, ""))
    order = list(topics)
    root.commands = dict(sorted(root.commands.items(), key=lambda item: [*order, item[0]].index(item[0])))
    for parameter in [*root.params, *(parameter for verb in root.commands.values() for parameter in verb.params)]:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""  # a flag has no value to speak of
        if parameter.param_type_name == "option":
            panels = [title for title, names in PANELS.items() if parameter.name in names]
            parameter.rich_help_panel = _(panels[0]) if panels else None
    for part in parts(root):
        for attribute in TEXTS:
            if isinstance(text := getattr(part, attribute, None), str):
                setattr(part, attribute, _(cleandoc(text)))
    for verb in (root, *root.commands.values()):
        verb.get_help_option = partial(help_option, verb.get_help_option)
        verb.get_usage = partial(usage, verb.get_usage)
    return root


def parts(root: Any) -> list[Any]:
    """All that has a help text: the command, its verbs, and their options and arguments."""
    return [found for verb in (root, *root.commands.values()) for found in (verb, *verb.params)]


def help_option(make: Callable[[Any], Any], context: Any) -> Any:
    """The option --help, as others are shown."""
    option = make(context)
    option.metavar, option.help = "", _("Show this message and exit.")
    return option


def usage(make: Callable[[Any], str], context: Any) -> str:
    """The line on how a verb is used."""
    return make(context).replace("Usage:", _("Usage:"), 1)


def main(stopped: Callable[[], bool] = lambda: False) -> None:
    """Runs the command; errors are one line on standard error, and an exit code that is not 0.

    Args:
        stopped: whether a signal has come to end it, whatever became of its `KeyboardInterrupt`: libraries swallow
            such exceptions, or raise others in their place.
    """
    debug: list[bool] = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no text
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # of libraries, about their own insides
            refuse_empty(sys.argv[1:])
            code = command(debug.append)(prog_name="cosmotok", standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        if any(debug):
            raise
        code = INTERRUPTED if stopped() else refuse(error)
    if code == INTERRUPTED or stopped():
        code = INTERRUPTED
        say(_("stopped; nothing half-written is left"))
    sys.exit(code)


def refuse_empty(arguments: Sequence[str]) -> None:
    """Raises InputError for an argument without text: nothing takes one, and as a path it would be this folder."""
    for before, text in zip(("", *arguments), arguments, strict=False):
        name = before if before.startswith("--") or before in ("-m", "-o") else "an argument"
        if not text or (text.startswith("--") and text.endswith("=")):
            raise InputError(f"{text.rstrip('=') or name}: expected a value, got an empty text")


def refuse(error: Exception) -> int:
    """Says in one line why the command ends; returns its exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # type: ignore[attr-defined]
        return 2
    if isinstance(error, BrokenPipeError):  # whoever read the output has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    line, code = _("error: {message}").format(message=translated(str(error))), 1
    if hasattr(error, "format_message"):  # typer's, of options and arguments
        message = translated(error.format_message().rstrip("."))
        line, code = _("error: {message}; see --help").format(message=message), 2
    elif (needed := out_of_memory(error)) is not None:
        advice = _("error: out of memory{needed}; try smaller frames (--size) or fewer of them (--frames)")
        line = advice.format(needed=needed)
    elif isinstance(error, OSError) and error.filename is not None:
        name, reason = one_line(error.filename), (error.strerror or type(error).__name__).lower()
        advice = _("error: {name}: {reason}; check the name and its permissions")
        line = advice.format(name=name, reason=reason)
    elif not isinstance(error, CosmotokError):
        message = f"{type(error).__name__}: {error}"
        line = _("internal error: {message}; please report it, with what --debug shows").format(message=message)
    say(public(" ".join(line.split())))
    return code
