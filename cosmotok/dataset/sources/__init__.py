"""Where images and videos come from: folders, lists, archives, tables, robots' episodes; local or remote."""

from cosmotok.dataset.sources.base import ENTRIES, Entry, Opened, Source, in_batches
from cosmotok.dataset.sources.columns import Columns
from cosmotok.dataset.sources.find import find_sources

__all__ = ["ENTRIES", "Columns", "Entry", "Opened", "Source", "find_sources", "in_batches"]
