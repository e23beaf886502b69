"""A visitor while the page works for them: their language, what they see of the work, and how errors are told."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from cosmotok.demo.clips import Steps
from cosmotok.demo.texts import TEXTS, language_of
from cosmotok.errors import CosmotokError

__all__ = ["Visit"]

R = TypeVar("R")


class Visit:
    """One click of a visitor."""

    def __init__(self, request: gr.Request, progress: gr.Progress) -> None:
        self.language = language_of(request.headers.get("accept-language", ""))
        self.progress = progress
        self.text = TEXTS[self.language]

    def asked(self, file: str | None, camera: str | None, models: Sequence[str]) -> str:
        """The path of what is to be worked on."""
        path = file or camera
        if path is None or not models:
            raise gr.Error(self.text["no_file" if path is None else "no_model"], print_exception=False)
        return path

    @contextmanager
    def told(self, *paths: str | None) -> Iterator[None]:
        """Tells our errors, with names of files rather than their paths here."""
        try:
            yield
        except CosmotokError as error:
            reason = str(error)
            for path in filter(None, paths):
                reason = reason.replace(path, Path(path).name)
            raise gr.Error(self.text["bad_file"].format(reason=reason), print_exception=False) from None

    def step_by_step(self, work: Steps[R]) -> Generator[Any, None, R]:
        """Work whose steps are seen, and between which it can be stopped."""
        while True:
            try:
                share = next(work)
            except StopIteration as end:
                return end.value
            self.progress(share, self.text["working"])
            yield gr.skip()
