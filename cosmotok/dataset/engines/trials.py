"""Shards at which workers died: what is tried next, and which input is left out at last. The same for all engines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cosmotok.dataset.job import Care, Step
from cosmotok.errors import CosmotokError

__all__ = ["Trial", "WorkerLostError"]

DEATHS = 2
"""Of careful workers at the same inputs, after which these are to blame."""
BLAME = "its worker was killed twice at it, most likely for its memory; ask for smaller frames"


class WorkerLostError(CosmotokError):
    """Workers cannot even begin."""


@dataclass
class Trial:
    """What happened to the workers that tried a shard."""

    deaths: int = 0
    at: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """Inputs that careful workers died at: one that was read or encoded, or several that were encoded at once."""
    last: tuple[str, ...] = ()
    """What the worker that is at it told of last."""
    early: int = 0
    """Deaths before anything was read."""

    @property
    def care(self) -> Care:
        """One death may be anybody's; from the second on it counts where it happens."""
        blamed = [keys for keys, count in self.at.items() if count >= DEATHS]
        return Care(
            careful=self.deaths > 1,
            alone=frozenset(key for keys in blamed for key in keys),
            doomed={keys[0]: BLAME for keys in blamed if len(keys) == 1},
        )

    def begin(self) -> Care:
        """A worker takes it."""
        self.last = ()
        return self.care

    def tell(self, step: Step) -> None:
        """The worker has come further."""
        self.last = step.keys or self.last

    def lose(self, reason: str) -> None:
        """The worker died.

        Raises:
            WorkerLostError: where one after the other has not read anything.
        """
        if not self.last:
            self.early += 1
            if self.early >= DEATHS:
                raise WorkerLostError(f"a worker ended before it read anything: {reason}")
            return
        if self.care.careful:
            self.at[self.last] += 1
        self.deaths += 1
