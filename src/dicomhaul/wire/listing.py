"""A page of a bucket's listing (ListObjectsV2 of S3; the XML API of Google Cloud Storage answers in the same form).

Rules of this module:

* An object counts if its key lies directly below the prefix and ends in `.dcm`. What lies deeper, is a folder's mark
  or ends otherwise is no instance of the series, and is passed over.
* The last part of such a key names a file and stands in a URL: letters, digits, dots, hyphens and underscores. One that
  is named otherwise would be an instance which cannot be asked for, so it is an error and not passed over.
* An ETag is sent back in `If-Match`: one that is weak (RFC 9110 section 8.8.1), too long or holds what a header may not
  counts as none.
* A document type is refused, so there is no entity to expand; numbers and tokens are bounded. The size of the whole
  page is bounded by who reads it.
"""

import re
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from dicomhaul.errors import Truncated, Unsupported
from dicomhaul.model import ObjectRef

_NAME: Final = re.compile(r"(?!.*\.\.)[0-9A-Za-z_-][0-9A-Za-z._-]{0,127}\.dcm\Z")
_IN_FOLDER: Final = re.compile(r"([0-9A-Za-z_-]{1,64})/[0-9A-Za-z_-][^/]{0,127}\.dcm\Z")
_ETAG: Final = re.compile(r'"?([\x21\x23-\x7e]{1,128})"?\Z')
_SIZE: Final = re.compile(r"[0-9]{1,18}\Z")
_TOKEN_MAX_CHARS: Final = 8 * 1024


class Page(NamedTuple):
    """One page. `token` is where the next one begins; None: this is the last."""

    objects: list[ObjectRef]
    token: str | None


def parse_listing(body: bytes, *, bucket: str, prefix: str) -> Page:
    """Read a page of the objects below `prefix`, which ends in `/`. `bucket` is how each of them calls it.

    Raises:
        Truncated: the page is XML that is broken or cut.
        Unsupported: it is no listing; or lists what cannot be asked for.
    """
    root, space = _root(body)
    listed = (_object(each, space, bucket, prefix) for each in root.iterfind(f"{space}Contents"))
    return Page([ref for ref in listed if ref is not None], _token(root, space))


def first_folder(body: bytes) -> str | None:
    """Return the first folder with an instance in a page of a whole bucket's listing; None if it has none.

    Raises as `parse_listing`.
    """
    root, space = _root(body)
    keys = (field.text or "" for field in root.iterfind(f"{space}Contents/{space}Key"))
    return next((found[1] for key in keys if (found := _IN_FOLDER.match(key))), None)


def _root(body: bytes) -> tuple[Element, str]:
    """Return a listing, and what its names begin with: S3 and Google have different namespaces."""
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except (ParseError, ValueError, LookupError) as error:  # refused; an encoding that is none
        if isinstance(error, DefusedXmlException) or body.lstrip()[:1] != b"<":
            raise Unsupported("the listing of the bucket is not XML of a bucket") from None
        raise Truncated("the listing of the bucket is XML that is broken or cut") from None
    space, _, name = root.tag.rpartition("}")
    if name != "ListBucketResult":
        raise Unsupported("the bucket answers with something else than a listing")
    return root, f"{space}}}" if space else ""


def _token(root: Element, space: str) -> str | None:
    if root.findtext(f"{space}IsTruncated", "").strip().lower() != "true":
        return None
    token = root.findtext(f"{space}NextContinuationToken", "")
    if not 0 < len(token) <= _TOKEN_MAX_CHARS:
        raise Unsupported("the listing of the bucket has more pages and does not say how to go on")
    return token


def _object(element: Element, space: str, bucket: str, prefix: str) -> ObjectRef | None:
    key = element.findtext(f"{space}Key", "")
    name = key.removeprefix(prefix)
    if name == key or "/" in name or not name.endswith(".dcm"):
        return None
    if not _NAME.match(name):
        raise Unsupported("the bucket lists an object whose name cannot be a file's")
    size = element.findtext(f"{space}Size", "").strip()
    if not _SIZE.match(size):
        raise Unsupported("the bucket lists an object without its size")
    etag = _ETAG.match(element.findtext(f"{space}ETag", ""))
    return ObjectRef(bucket, key, int(size), None if etag is None else etag[1])
