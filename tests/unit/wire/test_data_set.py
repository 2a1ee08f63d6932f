"""Any data set, in any encoding, split anyhow and cut anywhere."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.errors import Truncated
from dicomhaul.wire.data_set import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    SERIES,
    SOP,
    SOP_CLASS,
    STUDY,
    DataSetWalk,
    Encoding,
)

UNDEFINED = 0xFFFFFFFF
LONG = {"OB", "OW", "SQ", "UN", "UT"}
UIDS = {SOP_CLASS: (8, 0x16), SOP: (8, 0x18), STUDY: (0x20, 0xD), SERIES: (0x20, 0xE)}

Element = tuple[int, int, str, object]  # group, element, VR, and a value: bytes, fragments, or items with their form
Tree = list[Element]


class Writer:
    """Writes element trees in one encoding."""

    def __init__(self, encoding: Encoding) -> None:
        self.mark = "<" if encoding.little else ">"
        self.explicit = encoding.explicit

    def header(self, group: int, number: int, vr: str, length: int) -> bytes:
        if not self.explicit:
            return struct.pack(self.mark + "HHI", group, number, length)
        if vr in LONG:
            return struct.pack(self.mark + "HH2sHI", group, number, vr.encode(), 0, length)
        return struct.pack(self.mark + "HH2sH", group, number, vr.encode(), length)

    def plain(self, number: int, length: int) -> bytes:
        return struct.pack(self.mark + "HHI", 0xFFFE, number, length)

    def element(self, group: int, number: int, vr: str, value: object) -> bytes:
        if isinstance(value, bytes):
            return self.header(group, number, vr, len(value)) + value
        assert isinstance(value, tuple)
        kind, undefined, content = value
        if kind == "fragments":
            body = b"".join(self.plain(0xE000, len(fragment)) + fragment for fragment in content)
            return self.header(group, number, vr, UNDEFINED) + body + self.plain(0xE0DD, 0)
        body = b""
        for open_item, tree in content:
            item = self.tree(tree)
            if open_item:
                body += self.plain(0xE000, UNDEFINED) + item + self.plain(0xE00D, 0)
            else:
                body += self.plain(0xE000, len(item)) + item
        if undefined:
            return self.header(group, number, vr, UNDEFINED) + body + self.plain(0xE0DD, 0)
        return self.header(group, number, vr, len(body)) + body

    def tree(self, tree: Tree) -> bytes:
        return b"".join(self.element(*entry) for entry in tree)


values = st.one_of(
    st.binary(max_size=30), st.sampled_from([b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff\xfe\xe0\xdd\0\0\0\0", bytes(16)])
)
short_or_long = st.sampled_from(["LO", "US", "OB", "UT"])
plain_elements = st.tuples(st.sampled_from([9, 0x19, 0x29]), st.integers(0x1000, 0x10FF), short_or_long, values)
decoys = st.sampled_from(list(UIDS.values())).map(lambda pair: (*pair, "UI", b"9.9.9.9\0"))
fragments = st.lists(values, max_size=4).map(lambda content: (0x88, 0x200, "OB", ("fragments", True, content)))


def sequences(elements: st.SearchStrategy[Element]) -> st.SearchStrategy[Element]:
    items = st.lists(st.tuples(st.booleans(), st.lists(elements | decoys, max_size=4)), max_size=3)
    return st.tuples(st.just(9), st.just(0x1100), st.just("SQ"), st.tuples(st.just("items"), st.booleans(), items))


trees = st.lists(st.recursive(plain_elements | fragments, sequences, max_leaves=12), max_size=6)


@given(
    before=trees,
    between=trees,
    after=trees,
    encoding=st.sampled_from([EXPLICIT_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE]),
    sizes=st.lists(st.integers(1, 60), max_size=30),
    where=st.floats(0, 1, exclude_max=True),
)
def test_any_data_set(  # noqa: PLR0917 - Hypothesis passes each by name
    before: Tree, between: Tree, after: Tree, encoding: Encoding, sizes: list[int], where: float
) -> None:
    uids: Tree = [(*pair, "UI", b"1.%d\0" % what) for what, pair in UIDS.items()]
    tree: Tree = [(8, 5, "CS", b"ISO "), *uids[:2], *before, uids[2], *between, uids[3], *after]
    writer = Writer(encoding)
    content = writer.tree(tree)
    ends = {len(writer.tree(tree[:count])) for count in range(len(tree) + 1)}

    walk = DataSetWalk(encoding)
    at = 0
    for size in [*sizes, len(content)]:
        walk.take(memoryview(content)[at : at + size])
        at += size
    walk.finish()
    assert walk.found == {what: f"1.{what}" for what in UIDS}
    assert walk.lost_at is None
    assert walk.size == len(content)

    cut = int(where * len(content))
    walk = DataSetWalk(encoding)
    walk.take(memoryview(content)[:cut])
    if cut in ends:
        walk.finish()
    else:
        with pytest.raises(Truncated, match=f"at byte {cut}"):
            walk.finish()


@given(content=st.binary(max_size=300), sizes=st.lists(st.integers(1, 40), max_size=30))
def test_any_bytes_end_the_same_however_they_are_split(content: bytes, sizes: list[int]) -> None:
    def outcome(pieces: list[int]) -> object:
        walk = DataSetWalk(EXPLICIT_LITTLE)
        at = 0
        for size in [*pieces, len(content)]:
            walk.take(memoryview(content)[at : at + size])
            at += size
        assert len(walk._held) < 200
        try:
            walk.finish()
        except Truncated as error:
            return str(error), walk.found, walk.lost_at
        return walk.found, walk.lost_at

    assert outcome(sizes) == outcome([])
