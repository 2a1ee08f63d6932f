"""Calls to the operating system that fail on request."""

import errno
import os
from typing import Any

import pytest


class FailingCalls:
    """Replaces a function of `os`: its n-th call raises OSError, the others do what they should.

    Attributes:
        calls: how many there were.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, nth: int, code: int = errno.ENOSPC) -> None:
        real = getattr(os, name)
        self.calls = 0

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == nth:
                raise OSError(code, os.strerror(code))
            return real(*arguments, **named)

        monkeypatch.setattr(os, name, call)
