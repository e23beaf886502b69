"""What the launcher of a run says of its processes."""

from __future__ import annotations

import os

from cosmotok.errors import ConfigError
from cosmotok.foreign import one_line

__all__ = ["launched"]


def launched(variable: str, least: int, default: int | None = None) -> int:
    """What `torchrun` or `accelerate launch` says of this process; `default`, or `least`, where nobody launched it.

    Raises:
        ConfigError: for anything but a whole number from `least`.
    """
    value = os.environ.get(variable, str(least if default is None else default))
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) >= least):
        raise ConfigError(
            f"{variable}={one_line(value)}: expected a whole number from {least} in this environment variable, as "
            "torchrun and accelerate launch set it; without them, unset it"
        )
    return int(value)
