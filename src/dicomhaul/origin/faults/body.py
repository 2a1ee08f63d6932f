"""Faults of a body on its way: the right content, wrongly sent. They strike whatever has a body: instances, searches,
metadata, objects, listings, and answers that are errors by themselves. Pure.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from dicomhaul.origin.faults.table import Table

# How HTTP says where the body ends: its length is stated, the connection closes, or it comes in chunks.
Outer = Literal["length", "close", "chunked"]


class Struck(Table):
    """A fault that strikes at a place in the body.

    Attributes:
        after_bytes: so many bytes of the body come before it; what None means, each fault says.
        within_bytes: after_bytes is drawn at random, from 0 up to this, for each request on its own.
        do: the action's name.
        outer: how HTTP says where the body ends; None: as the style does. A stated length is that of the whole body.
    """

    do: str
    after_bytes: int | None = Field(default=None, ge=0)
    within_bytes: int | None = Field(default=None, ge=0)
    outer: Outer | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.after_bytes is not None and self.within_bytes is not None:
            raise ValueError("after_bytes and within_bytes exclude each other")
        return self


class Cut(Struck):
    """Break the connection: after so many bytes of the body, or (None) before the status line.

    `reset` breaks it with a TCP RST, otherwise it is a FIN; either way these bytes arrive before. (A RST waits until
    the other side has acknowledged them, where the origin runs on Linux; elsewhere it may overtake some.) `torn_chunk`:
    the last chunk of a chunked body announces one byte more than comes; otherwise the cut lies between two chunks.
    """

    do: Literal["cut"] = "cut"
    reset: bool = False
    torn_chunk: bool = False

    @model_validator(mode="after")
    def _check_chunked(self) -> Self:
        if self.torn_chunk and self.outer != "chunked":
            raise ValueError('torn_chunk needs outer = "chunked"')
        return self


class Stall(Struck):
    """Send nothing more, but keep the connection: after so many bytes of the body, or (None) before the
    status line.
    """

    do: Literal["stall"] = "stall"


class Truncate(Struck):
    """End the answer properly for HTTP, but after so many bytes of the body; None: just before a closing
    delimiter. A stated length (`outer = "length"`) is that of what comes.
    """

    do: Literal["truncate"] = "truncate"


class Slow(Struck):
    """Send the body at so many bytes a second: all of it (None), or what comes after so many bytes.

    It comes in pieces of a tenth of a second, and of at least one byte.
    """

    do: Literal["slow"] = "slow"
    bytes_per_s: float = Field(default=1.0, gt=0)


class Gzip(Table):
    """Compress the body, which nobody asked for, or lie about it.

    `wrong`:

        unasked   the header says `Content-Encoding: gzip`, and the body is compressed
        unstated  the body is compressed, and the header does not say so
        stated    the header says so, and the body is not compressed
        cut       the second half of the compressed body is missing, inside whole HTTP

    Attributes:
        pad_bytes: so many spaces stand before the body and are compressed with it, a thousand to one: a bomb. JSON
            allows them; of a multipart body they are the preamble.
    """

    do: Literal["gzip"] = "gzip"
    wrong: Literal["unasked", "unstated", "stated", "cut"] = "unasked"
    pad_bytes: int = Field(default=0, ge=0)


class Range(Table):
    """Answer with another range of the body than was asked for (RFC 9110 section 14).

    `wrong`; all but the first strike requests with a range:

        unasked      the first half, as 206, where all was asked for
        ignored      all of it, as 200
        shifted      the bytes one further on, with their own Content-Range
        mislabelled  the bytes one further on, with the Content-Range that was asked for
        short        the first half of the range, with a Content-Range that fits it
    """

    do: Literal["range"] = "range"
    wrong: Literal["unasked", "ignored", "shifted", "mislabelled", "short"] = "unasked"
