"""Pages of a bucket's listing: `wire.listing`.

An input is the body of a page. Then it is read once more, as the plan of a page whose objects are known.

* Nothing but Truncated and Unsupported leaves, and it is one line.
* Each object lies directly below the prefix; its name can stand in a URL and in a path; sizes, tokens and ETags are
  bounded, and an ETag can stand in a header.
* What was listed comes back; a page that is cut anywhere is refused.
"""

import re
from xml.sax.saxutils import escape

from dicomhaul.errors import Truncated, Unsupported
from dicomhaul.model import ObjectRef
from dicomhaul.wire.listing import Page, first_folder, parse_listing
from fuzz.script import Script
from fuzz.target import Target

_PREFIX = "s/"
_NAME = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]*\.dcm")
_SPACES = ("", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', ' xmlns="http://doc.s3.amazonaws.com/2006-03-01"')
_OTHERS = ("s/", "s/x.txt", "s/deeper/x.dcm", "t/x.dcm", "x.dcm")


def check(data: bytes) -> None:
    """Attack it with one input."""
    page = _page(data)
    if page is not None:
        for ref in page.objects:
            _check_object(ref)
        assert page.token is None or 0 < len(page.token) <= 8192
    _check_folder(data)
    _check_written(Script(data))


def _page(data: bytes) -> Page | None:
    try:
        return parse_listing(data, bucket="b", prefix=_PREFIX)
    except (Truncated, Unsupported) as error:
        assert str(error).isprintable(), error
        return None


def _check_object(ref: ObjectRef) -> None:
    assert ref.bucket == "b"
    assert ref.key.startswith(_PREFIX)
    assert _NAME.fullmatch(ref.key.removeprefix(_PREFIX))
    assert ".." not in ref.key
    assert len(ref.key) < 200
    assert 0 <= ref.size_bytes < 10**18
    assert ref.etag is None or (ref.etag.isascii() and ref.etag.isprintable() and '"' not in ref.etag)


def _check_folder(data: bytes) -> None:
    try:
        folder = first_folder(data)
    except (Truncated, Unsupported):
        return
    assert folder is None or re.fullmatch(r"[0-9A-Za-z_-]{1,64}", folder)


def _check_written(script: Script) -> None:
    objects, entries = [], []
    for _ in range(script.number(0, 4)):
        size, etag = script.number(0, 10**12), script.pick((None, "0123", "00112233445566778899aabbccddeeff-3"))
        key = f"{_PREFIX}{script.number(0, 999):x}.dcm"
        if script.flag():
            objects.append(ObjectRef("b", key, size, etag))
        else:
            key = script.pick(_OTHERS)
        shown = "" if etag is None else f"<ETag>{escape(chr(34) + etag + chr(34))}</ETag>"
        entries.append(f"<Contents><Key>{key}</Key><Size>{size}</Size>{shown}</Contents>")
    token = script.pick((None, "next", "a+b/c=="))
    more = (
        ""
        if token is None
        else f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    )
    text = f"<ListBucketResult{script.pick(_SPACES)}>{more}{''.join(entries)}</ListBucketResult>"
    body = (script.pick(("", '<?xml version="1.0" encoding="UTF-8"?>\n')) + text).encode()
    assert parse_listing(body, bucket="b", prefix=_PREFIX) == Page(objects, token)
    assert _page(body[: script.number(0, len(body) - 1)]) is None


TARGET = Target(
    "listing",
    check,
    (
        *(b"<ListBucketResult>", b"</ListBucketResult>", b"<Contents>", b"</Contents>", b"<Key>s/", b".dcm</Key>"),
        *(b"<Size>1</Size>", b"<IsTruncated>true</IsTruncated>", b"<NextContinuationToken>"),
        *(b"</NextContinuationToken>", b"<ETag>&quot;a&quot;</ETag>", b'<!DOCTYPE a [<!ENTITY b "c">]>', b"&b;"),
        *(b"&#0;", b"&#x2028;", b"<![CDATA[", b"]]>", b"../", b"%2e%2e", b"\xff\xfe", b"<!--"),
        *(b'<?xml version="1.0" encoding="UTF-16"?>', b'<?xml version="1.0" encoding="utf-7"?>', b"9" * 20, b"-1"),
        *(b"\xe2\x80\xa8",),
    ),
)  # fmt: skip
