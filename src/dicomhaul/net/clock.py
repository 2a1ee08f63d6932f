"""The clock of the real world. Everything else takes a `ports.Clock`."""

import time

import anyio


class SystemClock:
    """Time as the machine has it."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass; none if they are over already."""
        await anyio.sleep(max(0.0, seconds))
