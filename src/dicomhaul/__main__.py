"""The command `dicomhaul`, and `python -m dicomhaul`."""

import sys
from typing import Final

from dicomhaul.planner import standby

_PLANNING: Final = frozenset({"plan", "pull", "sync"})
_HELP: Final = frozenset({"-h", "--help"})


def main() -> None:
    """Run the command line; never returns."""
    words = sys.argv[1:]
    if len(words) > 1 and words[0] in _PLANNING and _HELP.isdisjoint(words):
        standby.start_ahead()
    try:
        from dicomhaul.cli.main import run  # noqa: PLC0415 - takes as long as what the child imports

        run()
    finally:
        standby.dismiss()


if __name__ == "__main__":
    main()
