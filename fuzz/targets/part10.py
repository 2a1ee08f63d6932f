"""Instances as they pass: `wire.part10` and `wire.data_set`.

An input is the bytes of an instance. Then it is read once more, as the plan of a data set whose UIDs are known
beforehand.

* However the bytes are split, the same identity comes out, or the same error; nothing but DamagedError leaves.
* What is remembered is bounded, whatever the lengths in the headers claim.
* A well-formed data set, in every encoding, nested as it may be, says the UIDs that were written, and pydicom reads the
  same. Cut anywhere but between two elements of its top level, it is Truncated.
"""

import re
from collections.abc import Iterable
from io import BytesIO

from dicomhaul.errors import DamagedError, Truncated
from dicomhaul.model import Identity
from dicomhaul.wire.part10 import Skimmer
from fuzz.data_sets import Built, build
from fuzz.judge import identity_by_pydicom
from fuzz.script import Script, splits
from fuzz.target import Target

_WHOLE = frozenset({"whole"})
_ITEM = re.compile(rb"\xfe\xff|\xff\xfe")
_MOST_HELD = 64 * 1024 + 2 * 1024
_MOST_OF_ONE_ELEMENT = 128 + 12


def check(data: bytes) -> None:
    """Attack it with one input."""
    outcomes = [_outcome(chunks) for chunks in splits(data)]
    assert all(each == outcomes[0] for each in outcomes), outcomes
    _check_built(Script(data))


def _skim(chunks: Iterable[bytes]) -> tuple[Identity, int | None]:
    skimmer = Skimmer()
    for chunk in chunks:
        skimmer.feed(memoryview(chunk))
        assert len(skimmer._head) <= _MOST_HELD
        assert skimmer._walk is None or len(skimmer._walk._held) <= _MOST_OF_ONE_ELEMENT
    identity = skimmer.finish()
    assert identity == skimmer.identity
    return identity, skimmer.lost_at


def _outcome(chunks: Iterable[bytes]) -> tuple[str, object]:
    try:
        return "whole", _skim(chunks)
    except DamagedError as error:
        return type(error).__name__, str(error) if isinstance(error, Truncated) else ""


def _check_built(script: Script) -> None:
    built = build(script)
    for chunks in splits(built.content):
        assert _skim(chunks) == (built.identity, None), built
    assert identity_by_pydicom(BytesIO(built.content)) == built.identity, built
    # Where an item or its end begins, the bytes before it say nothing of a cut: only the nesting does.
    marks = [match.start() for match in _ITEM.finditer(built.content, built.begin)]
    for cut in {script.number(0, len(built.content) - 1), *(script.pick(marks) for _ in marks[:3])}:
        kind = _outcome([built.content[:cut]])[0]
        assert kind in (_WHOLE if cut in built.ends else _allowed(built, cut)), (cut, kind, built)


def _allowed(built: Built, cut: int) -> frozenset[str]:
    # Fewer bytes than a prefix or a first element needs: they may as well be text.
    return frozenset({"Truncated", "NotDicom"} if cut < built.begin + 8 else {"Truncated"})


TARGET = Target(
    "part10",
    check,
    (
        *(b"DICM", b"\x02\0\0\0UL\4\0", b"\x02\0\x10\0UI", b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1\0"),
        *(b"1.2.840.10008.1.2.2\0", b"1.2.840.10008.1.2.1.99", b"\x08\0\x18\0UI\4\x001.5\0", b"\x20\0\x0d\0UI"),
        *(b"\x20\0\x0e\0\4\0\0\0", b"SQ\0\0\xff\xff\xff\xff", b"\xfe\xff\0\xe0\xff\xff\xff\xff", b"UN\0\0"),
        *(b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff", b"ZZ"),
        *(b"\x08\0\x16\0", b"\0\x08\0\x18UI\0\4", b"\xff\xff\xff\xff", b"\0\0\0\0\0\0\0\0", b"OW\0\0", b"\x03\x00"),
    ),
)  # fmt: skip
