"""Listings of buckets, as S3 and Google write them and as nobody should."""

from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.errors import Truncated, Unsupported
from dicomhaul.model import ObjectRef
from dicomhaul.wire.listing import Page, first_folder, parse_listing

PREFIX = "085e85b3-3780-47f6-8538-585bcca95336/"
S3_PAGE = f"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>idc-open-data</Name><Prefix>{PREFIX}</Prefix>
<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</NextContinuationToken><KeyCount>2</KeyCount>
<MaxKeys>2</MaxKeys><IsTruncated>true</IsTruncated>
<Contents><Key>{PREFIX}00a1.dcm</Key><LastModified>2023-09-13T05:08:52.000Z</LastModified>
<ETag>&quot;9f2d30b3d5e4a1f3a3f50c3c4ab9a5ce&quot;</ETag><Size>526336</Size>
<Owner><ID>x</ID></Owner><StorageClass>INTELLIGENT_TIERING</StorageClass></Contents>
<Contents><Key>{PREFIX}00b2.dcm</Key><ETag>"9f2d30b3d5e4a1f3a3f50c3c4ab9a5ce-3"</ETag><Size>52633600</Size></Contents>
</ListBucketResult>"""
GOOGLE_PAGE = f"""<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>
<Name>idc-open-data</Name><Prefix>{PREFIX}</Prefix><Marker></Marker><IsTruncated>false</IsTruncated><Contents>
<Key>{PREFIX}00a1.dcm</Key><Generation>1694582</Generation><MetaGeneration>1</MetaGeneration>
<LastModified>2023-09-13T05:08:52.000Z</LastModified><ETag>"-CKicn4fknu8CEAE="</ETag><Size>12</Size></Contents>
</ListBucketResult>"""


def parse(text: str | bytes) -> Page:
    return parse_listing(text.encode() if isinstance(text, str) else text, bucket="b", prefix=PREFIX)


def contents(name: str, *, size: str = "7", etag: str = '"e"') -> str:
    return f"<Contents><Key>{escape(PREFIX + name)}</Key><Size>{size}</Size><ETag>{escape(etag)}</ETag></Contents>"


def result(*rows: str, more: str = "") -> str:
    return f"<ListBucketResult>{''.join(rows)}{more}</ListBucketResult>"


def test_a_page_of_s3() -> None:
    assert parse(S3_PAGE) == Page(
        [
            ObjectRef("b", f"{PREFIX}00a1.dcm", 526_336, "9f2d30b3d5e4a1f3a3f50c3c4ab9a5ce"),
            ObjectRef("b", f"{PREFIX}00b2.dcm", 52_633_600, "9f2d30b3d5e4a1f3a3f50c3c4ab9a5ce-3"),
        ],
        "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=",
    )


def test_the_last_page_of_google() -> None:
    assert parse(GOOGLE_PAGE) == Page([ObjectRef("b", f"{PREFIX}00a1.dcm", 12, "-CKicn4fknu8CEAE=")], None)


def test_a_page_without_anything() -> None:
    assert parse(result()) == Page([], None)


@pytest.mark.parametrize("name", ["", "a/b.dcm", "/a.dcm", "a.DCM", "a.dcm/", "index.html", "a.dcm.json", "dcm"])
def test_what_is_no_instance_of_the_series_is_passed_over(name: str) -> None:
    assert parse(result(contents(name), contents("a.dcm"))).objects == [ObjectRef("b", f"{PREFIX}a.dcm", 7, "e")]


def test_what_lies_elsewhere_is_passed_over() -> None:
    elsewhere = "<Contents><Key>elsewhere/a.dcm</Key><Size>1</Size></Contents>"
    assert parse(result(elsewhere, "<Contents/>", "<CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>")).objects == []


@pytest.mark.parametrize(
    "name",
    [
        ".dcm",
        "..dcm",
        "...dcm",
        "a..dcm",
        ".a.dcm",
        "a b.dcm",
        "a%2f.dcm",
        "a?.dcm",
        "ä.dcm",
        "a\\b.dcm",
        "a" * 200 + ".dcm",
        "a\n.dcm",
    ],
)
def test_an_instance_that_cannot_be_asked_for_is_not_passed_over(name: str) -> None:
    with pytest.raises(Unsupported, match="whose name"):
        parse(result(contents(name)))


@pytest.mark.parametrize("size", ["", "-1", "1e3", "\u0661", "0x10", "9" * 19, "1 2"])
def test_an_object_without_a_size(size: str) -> None:
    with pytest.raises(Unsupported, match="size"):
        parse(result(contents("a.dcm", size=size)))


@pytest.mark.parametrize(
    ("written", "etag"),
    [('"abc-2"', "abc-2"), ("abc", "abc"), ('W/"abc"', None), ('""', None), ("", None), ('"a b"', None),
     ('"' + "a" * 129 + '"', None), ('"ä"', None), ('"a\r\nX: y"', None), ('"a"b"', None)],
)  # fmt: skip
def test_an_etag_that_may_be_sent_back(written: str, etag: str | None) -> None:
    assert parse(result(contents("a.dcm", etag=written))).objects[0].etag == etag


@pytest.mark.parametrize(
    "more", ["", "<NextContinuationToken/>", f"<NextContinuationToken>{'x' * 9000}</NextContinuationToken>"]
)
def test_more_pages_that_cannot_be_had(more: str) -> None:
    with pytest.raises(Unsupported, match="how to go on"):
        parse(result(more=f"<IsTruncated>true</IsTruncated>{more}"))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", Unsupported),
        ("<html><body>log in</body></html>", Unsupported),
        ("not today", Unsupported),
        ('{"items": []}', Unsupported),
        ("<Error><Code>NoSuchBucket</Code></Error>", Unsupported),
        ('<?xml version="1.0" encoding="nonsense"?><ListBucketResult/>', Truncated),
        ('<?xml version="1.0" encoding="zip"?><ListBucketResult/>', Truncated),
        ('<?xml version="1.0" encoding="utf-7"?><ListBucketResult/>', Truncated),
        (S3_PAGE[:-30], Truncated),
        ("<ListBucketResult><a></b></ListBucketResult>", Truncated),
    ],
)
def test_what_is_no_listing(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse(text)


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">',
        '<!ENTITY c SYSTEM "file:///etc/hostname">',
        "",
    ],
)
def test_no_entity_is_expanded(declared: str) -> None:
    text = f"<!DOCTYPE l [{declared}]>" + result(
        contents("a.dcm"), more="<NextContinuationToken>x</NextContinuationToken>"
    )
    with pytest.raises(Unsupported):
        parse(text)


@given(st.binary(max_size=300))
def test_rubbish_ends_in_an_error_of_ours(rubbish: bytes) -> None:
    with pytest.raises((Truncated, Unsupported)):
        parse(b"<ListBucketResult>" + rubbish)


@given(st.data())
def test_a_damaged_page_names_nothing_that_was_not_listed(data: st.DataObject) -> None:
    page = bytearray(S3_PAGE.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        page[data.draw(st.integers(0, len(page) - 1))] = data.draw(st.integers(0, 255))
    try:
        objects = parse(bytes(page)).objects
    except (Truncated, Unsupported):
        return
    for ref in objects:
        assert ref.key.startswith(PREFIX)
        assert ref.key.removeprefix(PREFIX).replace("-", "").replace("_", "").replace(".", "").isalnum()
        assert 0 <= ref.size_bytes < 10**18


NAMES = st.text("abcdef0123456789-_.", min_size=1, max_size=40).filter(
    lambda name: ".." not in name and name[0] != "." and name[-1] != "."
)


@given(st.lists(st.tuples(NAMES, st.integers(0, 10**12)), max_size=8))
def test_what_is_listed_is_read(objects: list[tuple[str, int]]) -> None:
    rows = [contents(f"{name}.dcm", size=str(size)) for name, size in objects]
    assert [(ref.stem, ref.size_bytes) for ref in parse(result(*rows)).objects] == objects


@pytest.mark.parametrize(
    ("keys", "folder"),
    [
        ([], None),
        (["readme.txt", "a/b/c.dcm", "top.dcm"], None),
        (["index.html", "u-1/x.dcm", "u-2/y.dcm"], "u-1"),
        (["../x.dcm", "u-2/y.dcm"], "u-2"),
    ],
)
def test_the_first_folder_of_a_bucket(keys: list[str], folder: str | None) -> None:
    contents = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
    assert first_folder(f"<ListBucketResult>{contents}</ListBucketResult>".encode()) == folder
