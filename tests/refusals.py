"""How tests check that something is refused."""

import pytest

from cosmotok.errors import CosmotokError, InputError


def refused(call, *words, error=InputError):
    """Checks that `call` raises `error` with one line that says what was expected; returns that line."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert isinstance(caught.value, CosmotokError)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message
