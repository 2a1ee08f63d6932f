"""How real DICOMweb servers differ, as data: one `Style` a server.

The framings are those of a server's source or of a capture. Nothing in the room asks which server it plays;
it asks the style.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Style:
    """One kind of server.

    Attributes:
        boundary_chars: length of the multipart boundary, in hexadecimal digits.
        content_type: of a multipart answer; `{boundary}` and `{start}` are filled in.
        part_headers: of each part; `{size}`, `{syntax}` and `{id}` are filled in.
        closing: what follows the closing delimiter.
        outer: how an answer of two parts or more ends: the connection closes, or the chunked coding says so.
            A server of the first kind sends an answer of at most one part with a Content-Length.
        single: whether one instance can come as `application/dicom`.
        refused: the status for an Accept header that asks for something else.
        searches: the searches that exist, as path templates.
        page_default: results where a search names no limit; None: all.
        page_max: the most results of one answer; None: no cap.
        over_page_max: whether a larger `limit` is cut in silence or answered with 400.
        paging: "shifting": with each page that is asked for, a new result stands before the old ones, so that
            pages overlap; "repeating": `offset` is ignored.
        warns: whether a truncated answer carries `Warning: 299` (PS3.18 section 8.3.4.4.1).
        counts: whether answers carry NumberOfStudyRelatedSeries and its kin.
        wildcards: whether `*` and `?` match.
        empty: the status of a search without results.
        json_errors: whether the body of an error is JSON.
        missing: the status for what is not there.
        response_bytes: a larger answer becomes a 500 without a body; None: there is no limit.
    """

    name: str
    content_type: str
    part_headers: tuple[str, ...]
    outer: Literal["close", "chunked"]
    boundary_chars: int = 32
    closing: bytes = b"\r\n"
    single: bool = True
    refused: int = 406
    searches: frozenset[str] = frozenset(
        {
            "/studies",
            "/series",
            "/instances",
            "/studies/{study}/series",
            "/studies/{study}/instances",
            "/studies/{study}/series/{series}/instances",
        }
    )
    page_default: int | None = None
    page_max: int | None = None
    over_page_max: Literal["cap", "refuse"] = "cap"
    paging: Literal["steady", "shifting", "repeating"] = "steady"
    warns: bool = False
    counts: bool = True
    wildcards: bool = True
    empty: Literal[200, 204] = 200
    json_errors: bool = False
    missing: int = 404
    response_bytes: int | None = None


ORTHANC = Style(
    name="orthanc",
    content_type='multipart/related; type="application/dicom"; boundary={boundary}',
    boundary_chars=70,
    part_headers=("Content-Type: application/dicom", "Content-Length: {size}", "MIME-Version: 1.0"),
    outer="close",
    single=False,
    refused=400,
    json_errors=True,
)
AZURE = Style(
    name="azure",
    content_type="multipart/related; boundary={boundary}",
    part_headers=("Content-Type: application/dicom; transfer-syntax={syntax}",),
    outer="chunked",
    page_default=100,
    page_max=200,
    over_page_max="refuse",
    wildcards=False,
    counts=False,
    empty=204,
)
DCM4CHEE = Style(
    name="dcm4chee",
    content_type='multipart/related;start="<{start}@resteasy-multipart>";transfer-syntax=1.2.840.10008.1.2.1;'
    'type="application/dicom"; boundary={boundary}',
    part_headers=(
        "Content-ID: <{id}@resteasy-multipart>",
        "Content-Type: application/dicom;transfer-syntax={syntax}",
    ),
    closing=b"",
    outer="chunked",
    single=False,
    page_default=1000,
    page_max=1000,
    warns=True,
    empty=204,
    json_errors=True,
)
GOOGLE = Style(
    name="google",
    content_type='multipart/related; boundary={boundary}; transfer-syntax=*; type="application/dicom"',
    boundary_chars=60,
    part_headers=("Content-Type: application/dicom; transfer-syntax={syntax}",),
    outer="chunked",
    page_default=100,
    page_max=5000,
    wildcards=False,
    counts=False,
    empty=204,
    json_errors=True,
)
# IDC's own store: Google does not tell what is absent from what is not for us.
IDC_GOOGLE = replace(GOOGLE, name="idc-google", missing=403)
# App Engine, in front of Google, answers 500 beyond 32 MB.
IDC_PROXY = replace(GOOGLE, name="idc-proxy", response_bytes=32_000_000)
STRICT = Style(
    name="strict",
    content_type='multipart/related; type="application/dicom"; boundary="{boundary}"',
    part_headers=("Content-Type: application/dicom",),
    outer="chunked",
    searches=frozenset(
        {
            "/studies",
            "/studies/{study}/series",
            "/studies/{study}/series/{series}/instances",
        }
    ),
    page_default=10,
    page_max=10,
    empty=204,
)

STYLES = {style.name: style for style in (ORTHANC, AZURE, DCM4CHEE, GOOGLE, IDC_GOOGLE, IDC_PROXY, STRICT)}
