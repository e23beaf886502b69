"""Reading, computing and writing at the same time, in order: one item ahead, one item behind."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["Behind", "ahead"]

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items; while one is in use, a thread gets the next."""
    end = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]


class Behind:
    """Runs calls one after the other in a thread; a context that ends when the last one has.

    An error of a call is raised by the next one, or at the end.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "behind")
        self._last: Future[Any] | None = None

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Waits for the call before, then begins this one."""
        if self._last is not None:
            self._last.result()
        self._last = self._thread.submit(function, *arguments)

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if error is None and self._last is not None:
            self._last.result()
