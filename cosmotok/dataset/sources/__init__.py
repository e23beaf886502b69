"""Where images and videos come from: folders, lists, archives, tables, robots' episodes; local or remote."""

from cosmotok.dataset.sources.base import ENTRIES, Entry, Opened, Source, in_batches

__all__ = ["ENTRIES", "Entry", "Opened", "Source", "in_batches"]
