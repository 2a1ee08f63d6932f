"""Words of a command line that may name a file."""

from pathlib import Path


def is_file(word: str) -> bool:
    """Say whether `word` names a file; a word that cannot name one, being too long for example, does not."""
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False
