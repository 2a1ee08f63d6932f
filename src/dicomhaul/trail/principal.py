"""Who is at work: the account that this process runs under, and the machine; not from variables that anybody sets."""

import os
import socket
import sys


def principal() -> dict[str, str | int | None]:
    """Return account (None where the system has no name for it), user id (None on Windows) and host name."""
    return {"account": _account(), "uid": _uid(), "host": socket.gethostname()}


if sys.platform == "win32":
    import ctypes

    def _account() -> str | None:
        size = ctypes.c_ulong(257)
        name = ctypes.create_unicode_buffer(size.value)
        return name.value if ctypes.windll.advapi32.GetUserNameW(name, ctypes.byref(size)) else None

    def _uid() -> int | None:
        return None
else:
    import pwd

    def _account() -> str | None:
        try:
            return pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:  # in a container, under a number that nobody gave a name
            return None

    def _uid() -> int | None:
        return os.geteuid()
