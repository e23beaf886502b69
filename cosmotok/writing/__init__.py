"""All that is written goes through here, and is whole under its name or not there at all.

A file is written beside its place under a hidden name, brought to the disk and renamed; a folder likewise. The hidden
name has the machine, the process and a random number in it and is locked while its writer lives, so that the next one
who writes there can tell leftovers of a process that was killed from the work of one that runs.
"""

from cosmotok.writing.files import OutputFile, append, buffered, output_file, spool, write_file
from cosmotok.writing.folders import output_folder, remove_folder
from cosmotok.writing.hidden import busy, clear, sweep
from cosmotok.writing.interrupts import postponed
from cosmotok.writing.names import Together
from cosmotok.writing.sources import spare
from cosmotok.writing.system import require_folder, write_error

__all__ = [
    "OutputFile",
    "Together",
    "append",
    "buffered",
    "busy",
    "clear",
    "output_file",
    "output_folder",
    "postponed",
    "remove_folder",
    "require_folder",
    "spare",
    "spool",
    "sweep",
    "write_error",
    "write_file",
]
