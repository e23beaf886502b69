"""The command's root: its help, its options, and what an error looks like."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cosmotok.errors import CosmotokError
from cosmotok.printing import say

__all__ = ["app", "main"]

INTERRUPTED = 130

app = typer.Typer(
    name="cosmotok",
    help="Images and videos to compact tokens and back, with the Cosmos Tokenizer.",
    epilog="Start with: cosmotok reconstruct clip.mp4",
    no_args_is_help=True,
    add_completion=False,
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


def main() -> None:
    """Runs the command; errors are one line on standard error, and an exit code that is not 0."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]  # it may stand behind the verb, too
    try:
        app()
    except CosmotokError as error:
        if debug:
            raise
        say("error: " + " ".join(str(error).split()))
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # typer turns Ctrl-C into an exit of its own
        if isinstance(end, KeyboardInterrupt) or end.code == INTERRUPTED:
            say("stopped; nothing half-written is left")
            sys.exit(INTERRUPTED)
        raise
    except MemoryError:
        say("error: out of memory; try a smaller --size")
        sys.exit(1)
