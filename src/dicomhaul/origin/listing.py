"""What a bucket answers besides objects, as XML: a page of a listing (ListObjectsV2 of S3), an error. Pure."""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring

PAGE_MAX: Final = 1000
MODIFIED: Final = "2023-02-10T12:00:00.000Z"
Cloud = Literal["s3", "gcs"]

_NAMESPACES: Final = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/", "gcs": "http://doc.s3.amazonaws.com/2006-03-01"}
_KNOWN: Final = frozenset({"list-type", "prefix", "continuation-token", "start-after", "max-keys", "encoding-type"})


class BadListingError(Exception):
    """A listing was asked for that there is none of; `code` is what S3 calls it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Wanted(NamedTuple):
    """What a listing is asked for. `after`: the last key that is not wanted any more."""

    prefix: str
    after: str
    token: str | None
    most: int
    encoded: bool  # keys are to be percent-encoded


class Listed(NamedTuple):
    """An object of a page. `etag` without quotes."""

    key: str
    size_bytes: int
    etag: str


def parse_wanted(query: Mapping[str, str], *, page_max: int = PAGE_MAX) -> Wanted:
    """Read the query of a listing. Raises BadListingError for what cannot be or is not known here."""
    unknown = sorted(set(query) - _KNOWN)
    if query.get("list-type") != "2" or unknown:
        raise BadListingError("NotImplemented", f"only ListObjectsV2, without {', '.join(unknown) or 'its forerunner'}")
    most = query.get("max-keys", str(PAGE_MAX))
    if not (most.isascii() and most.isdigit()):
        raise BadListingError("InvalidArgument", "max-keys is no number")
    token = query.get("continuation-token")
    after = query.get("start-after", "")
    if token is not None:
        try:
            after = base64.b64decode(token, validate=True).decode()
        except (binascii.Error, ValueError):
            raise BadListingError("InvalidArgument", "The continuation token provided is incorrect") from None
    encoded = query.get("encoding-type") == "url"
    return Wanted(query.get("prefix", ""), after, token, min(int(most), page_max), encoded)


def page_xml(cloud: Cloud, bucket: str, wanted: Wanted, objects: Sequence[Listed], *, more: bool) -> bytes:
    """Return a page; with `more`, it says how to go on behind its last object."""

    def name(key: str) -> str:
        return quote(key) if wanted.encoded else key

    fields: list[tuple[str, str]] = [("Name", bucket), ("Prefix", name(wanted.prefix))]
    if wanted.token is not None:
        fields.append(("ContinuationToken", wanted.token))
    if more:
        fields.append(("NextContinuationToken", base64.b64encode(objects[-1].key.encode()).decode()))
    fields += [("KeyCount", str(len(objects))), ("MaxKeys", str(wanted.most))]
    if wanted.encoded:
        fields.append(("EncodingType", "url"))
    fields.append(("IsTruncated", "true" if more else "false"))
    root = _element("ListBucketResult", fields)
    root.set("xmlns", _NAMESPACES[cloud])
    for each in objects:
        contents = [("Key", name(each.key)), ("LastModified", MODIFIED), ("ETag", f'"{each.etag}"')]
        contents += [("Size", str(each.size_bytes)), ("StorageClass", "STANDARD")]
        root.append(_element("Contents", contents))
    return _document(root)


def error_xml(code: str, message: str) -> bytes:
    """Return the body of an error."""
    return _document(_element("Error", [("Code", code), ("Message", message), ("RequestId", "ORIGIN")]))


def _element(name: str, fields: Iterable[tuple[str, str]]) -> Element:
    element = Element(name)
    for field, text in fields:
        SubElement(element, field).text = text
    return element


def _document(root: Element) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root)
