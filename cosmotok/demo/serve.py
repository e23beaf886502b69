"""Starts the page's server, and ends it with the command."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cosmotok.demo.limits import Limits
from cosmotok.errors import InputError, missing_extra

if TYPE_CHECKING:
    from cosmotok.interface import BaseTokenizer

__all__ = ["serve", "serving"]


def serve(
    load: Callable[[str], BaseTokenizer],
    models: Sequence[str],
    *,
    host: str,
    port: int,
    limits: Limits,
    started: Callable[[str], None],
) -> None:
    """Serves the page until the process is interrupted. Nothing of it is left behind.

    Args:
        load: a tokenizer by its name.
        models: names that visitors can choose, the first to begin with; others are refused.
        host, port: where to listen.
        started: called with the address once it answers.

    Raises:
        MissingExtraError: without Gradio.
        InputError: where it cannot listen there.
    """
    with serving(load, models, host=host, port=port, limits=limits) as address:
        started(address)
        threading.Event().wait()


@contextmanager
def serving(
    load: Callable[[str], BaseTokenizer], models: Sequence[str], *, host: str, port: int, limits: Limits
) -> Iterator[str]:
    """`serve` within a block; gives the address."""
    with tempfile.TemporaryDirectory(prefix="cosmotok-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # read when a page is built
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        gr = import_gradio()
        from cosmotok.demo.page import KEYS, Page

        page = Page(load, models, limits)
        page.load(models[0])  # the first visitor waits for nothing, and a wrong name is told at once
        font, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # of the visitor: none is fetched
        try:
            _, address, _ = page.blocks.queue(default_concurrency_limit=1, max_size=limits.waiting).launch(
                server_name=host,
                server_port=port,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                ssr_mode=False,
                max_file_size=f"{limits.upload}mb",
                footer_links=[],
                i18n=page.words,
                js=KEYS,
                theme=gr.themes.Default(font=font, font_mono=mono),
            )
        except OSError as error:
            raise InputError(f"--host {host} --port {port}: cannot listen there; choose another port") from error
        try:
            yield address
        finally:
            page.blocks.close(verbose=False)


def import_gradio() -> Any:
    try:
        import gradio
    except ImportError:
        raise missing_extra("the page needs Gradio", "demo") from None
    return gradio
