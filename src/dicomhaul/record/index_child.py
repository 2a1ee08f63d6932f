"""Writes a destination's index, in a process of its own: `python -m dicomhaul.record.index_child LEDGER INDEX`.

Its standard input is a pipe whose other end the run holds: one that outlived its run would write into what the next
run's is writing.
"""

import sys
from contextlib import closing
from importlib.abc import MetaPathFinder
from pathlib import Path

from dicomhaul.errors import HaulError
from dicomhaul.record.index_parquet import write_index
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.lifeline import end_with_parent


class _PyarrowAlone(MetaPathFinder):
    """pyarrow loads pandas and numpy where they are, which takes longer than all the rest, and needs neither here."""

    def find_spec(self, fullname: str, *_: object) -> None:
        """Say that there are none."""
        if fullname in {"numpy", "pandas"}:
            raise ModuleNotFoundError(name=fullname)


def main() -> int:
    """Write the index; a failure is one line on stderr and exit 1."""
    ledger_path, index_path = map(Path, sys.argv[1:3])
    end_with_parent()
    sys.meta_path.insert(0, _PyarrowAlone())
    try:
        with closing(Ledger.open(ledger_path, read_only=True)) as ledger:
            write_index(ledger.iter_seen(), index_path)
    except HaulError as error:
        print(error, file=sys.stderr)  # noqa: T201 - how this process answers
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
