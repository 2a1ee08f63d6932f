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


class _NoPandas(MetaPathFinder):
    """pyarrow loads pandas where there is one, which takes longer than all the rest, and has no use for it here."""

    def find_spec(self, fullname: str, *_: object) -> None:
        """Say that there is none."""
        if fullname == "pandas":
            raise ModuleNotFoundError(name=fullname)


def main() -> int:
    """Write the index; a failure is one line on stderr and exit 1."""
    ledger_path, index_path = map(Path, sys.argv[1:3])
    end_with_parent()
    sys.meta_path.insert(0, _NoPandas())
    try:
        with closing(Ledger.open(ledger_path, read_only=True)) as ledger:
            write_index(ledger.iter_seen(), index_path)
    except HaulError as error:
        print(error, file=sys.stderr)  # noqa: T201 - how this process answers
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
