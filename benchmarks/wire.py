"""What taking a multipart body apart costs, with and without skimming each instance, on one core.

    python -m benchmarks.wire

Bodies lie in memory and come in chunks of 256 KiB, as aiohttp gives them under load. Instances have about 100
elements. The best of several rounds is printed: other work on the machine only ever makes it slower.
"""

import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from benchmarks.data import BOUNDARY, instance
from dicomhaul.wire.multipart import MultipartParser
from dicomhaul.wire.part10 import Skimmer

CHUNK = 256 * 1024
ROUNDS = 5


def body(part: bytes, count: int, *, lengths: bool) -> bytes:
    """Frame `count` copies as Orthanc does (with lengths) or as Azure does (without)."""
    head = b"--" + BOUNDARY.encode() + b"\r\nContent-Type: application/dicom\r\n"
    if lengths:
        head += b"Content-Length: %d\r\nMIME-Version: 1.0\r\n" % len(part)
    return (head + b"\r\n" + part + b"\r\n") * count + b"--" + BOUNDARY.encode() + b"--\r\n"


class Dropping:
    """A handler that does nothing with a part."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """Nothing."""

    def data(self, view: memoryview) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Skimming:
    """A handler that skims each part."""

    def __init__(self) -> None:
        self._skimmer = Skimmer()

    def begin(self, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - nothing in them is needed
        """A part begins."""
        self._skimmer = Skimmer()

    def data(self, view: memoryview) -> None:
        """The part's next bytes."""
        self._skimmer.feed(view)

    def end(self) -> None:
        """The part is whole."""
        self._skimmer.finish()


def best_s(chunks: list[bytes], handler: Callable[[], Dropping | Skimming]) -> float:
    """The seconds that the fastest round took."""
    best = float("inf")
    for _ in range(ROUNDS):
        parser = MultipartParser(BOUNDARY, handler())
        begin = time.perf_counter()
        for chunk in chunks:
            parser.feed(chunk)
        parser.close()
        best = min(best, time.perf_counter() - begin)
    return best


def main() -> None:
    """Measure and print the table."""
    table = Table("instance", "part lengths", "skimmed", "MB/s", "parts/s", "us a part")
    for pixel_bytes, count in ((523_000, 400), (5_600, 20_000)):
        part = instance(pixel_bytes)
        for lengths in (True, False):
            whole = body(part, count, lengths=lengths)
            chunks = [whole[at : at + CHUNK] for at in range(0, len(whole), CHUNK)]
            for handler in (Dropping, Skimming):
                seconds = best_s(chunks, handler)
                table.add_row(
                    f"{len(part):,} B",
                    "yes" if lengths else "no",
                    "yes" if handler is Skimming else "no",
                    f"{len(whole) / seconds / 1e6:,.0f}",
                    f"{count / seconds:,.0f}",
                    f"{seconds / count * 1e6:.1f}",
                )
    Console().print(table)


if __name__ == "__main__":
    main()
