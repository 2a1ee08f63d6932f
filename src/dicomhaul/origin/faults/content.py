"""Faults of what an answer says: wrong parts, wrong multipart framing, wrong pages; HTTP is kept. Pure."""

from typing import Literal

from pydantic import Field

from dicomhaul.origin.faults.table import Table


class Part(Table):
    """Spoil one part of a well-framed answer, counted from 0; negative numbers count from the end. An object of a
    bucket is an answer of one part.

    `wrong`, of the part `index`:

        omit           it is left out
        duplicate      it comes twice
        twin           it comes a second time, as other bytes with the same SOP Instance UID; an object is `flip`
        foreign        an instance of another series in its place
        foreign_study  an instance of another study in its place
        text           something that is not DICOM in its place
        html           a page for people in its place
        evil_uid       its SOP Instance UID is a path that climbs (`../`)
        cut            its second half is missing, inside whole framing
        flip           the lowest bit of its last byte is another one
        empty          it has no bytes
        length         its Content-Length is one too small; a style whose parts state none gets one
        length_over    its Content-Length is one too large, likewise
    """

    do: Literal["part"] = "part"
    wrong: Literal[
        "omit",
        "duplicate",
        "twin",
        "foreign",
        "foreign_study",
        "text",
        "html",
        "evil_uid",
        "cut",
        "flip",
        "empty",
        "length",
        "length_over",
    ]
    index: int = 0


class Multipart(Table):
    """Spoil the framing of a multipart answer (RFC 2046 section 5.1), whose parts are right. `Truncate` leaves out the
    closing delimiter.

    `wrong`; parts are counted from 0:

        closed_early     the closing delimiter stands after `count` parts, and ends the answer; 0: there is no part
        closed_within    the closing delimiter stands after `count` parts, and the other parts follow it
        boundary_wrong   the header names another boundary
        boundary_absent  the header names none
        boundary_inside  a delimiter with its line breaks overwrites the middle of part `count`
        boundary_near    what is almost one does: a boundary that no line break stands before, and a delimiter less
                         the boundary's last character
        lf               delimiters and part headers end with LF alone
        no_headers       parts have no header lines
        huge_headers     part `count` has `size_bytes` of headers besides, in lines of at most 1000 bytes
        huge_header      part `count` has `size_bytes` of headers besides, in one line
        preamble         `size_bytes` of junk stand before the first delimiter
        epilogue         `size_bytes` of junk follow the closing delimiter
        empty_parts      `count` parts without headers and bytes stand before the others
        single           part `count` comes alone, as application/dicom, without any framing
    """

    do: Literal["multipart"] = "multipart"
    wrong: Literal[
        "closed_early",
        "closed_within",
        "boundary_wrong",
        "boundary_absent",
        "boundary_inside",
        "boundary_near",
        "lf",
        "no_headers",
        "huge_headers",
        "huge_header",
        "preamble",
        "epilogue",
        "empty_parts",
        "single",
    ]
    count: int = Field(default=0, ge=0)
    size_bytes: int = Field(default=65_536, ge=16)


class Pages(Table):
    """Spoil a page of a search, or of a bucket's listing.

    `wrong`:

        cap      at most `most` results, whatever was asked for
        shift    the page begins one result before where it should, so that pages overlap; the first page cannot
        skip     the page begins one result after where it should
        repeat   the first page again and again, filled up by going round: it never ends
        endless  full pages of made-up results, ever new ones: it never ends
    """

    do: Literal["pages"] = "pages"
    wrong: Literal["cap", "shift", "skip", "repeat", "endless"]
    most: int = Field(default=1, ge=1)
