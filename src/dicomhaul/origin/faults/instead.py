"""Faults that stand instead of an answer: nothing of what was asked for comes. Pure."""

from typing import Literal, Self

from pydantic import Field, model_validator

from dicomhaul.origin.faults.table import Table


class Status(Table):
    """Answer with a status, and nothing of what was asked for. `status = 200` with HTML is a captive portal.

    Attributes:
        headers: these besides, or instead of, those that an answer has. Without a Content-Type a body that begins
            with `<` is HTML, one that begins with `{` or `[` JSON, any other plain text.
        retry_after_s: adds a Retry-After of so many seconds from now (RFC 9110 section 10.2.3); None: there is none.
        retry_after_as: whether that is a number or a date. A negative number makes a date in the past.
    """

    do: Literal["status"] = "status"
    status: int = Field(ge=200, le=599)
    headers: dict[str, str] = Field(default_factory=dict)
    body: str = ""
    retry_after_s: int | None = None
    retry_after_as: Literal["seconds", "date"] = "seconds"

    @model_validator(mode="after")
    def _check_past(self) -> Self:
        if self.retry_after_as == "seconds" and (self.retry_after_s or 0) < 0:
            raise ValueError("only a date can lie in the past")
        return self


class Redirect(Table):
    """Send the client elsewhere (RFC 9110 section 15.4).

    Attributes:
        to: the Location, absolute or not; '' is the same address, so that the client goes round for ever. `{path}` in
            it becomes path and query of the request, `{number}` the number of the request in the journal, which makes
            a chain of ever new addresses: `to = "{path}&hop={number}"`.
    """

    do: Literal["redirect"] = "redirect"
    status: Literal[301, 302, 303, 307, 308] = 302
    to: str = ""


class Flood(Table):
    """Answer with `before`, then `unit` so many times, then `after`: JSON that nests for ever, a body without an end.

    The answer is chunked and well-formed HTTP; the body is made while it is sent.
    """

    do: Literal["flood"] = "flood"
    status: int = Field(default=200, ge=200, le=599)
    headers: dict[str, str] = Field(default_factory=dict)
    before: str = ""
    unit: str = Field(default=" ", min_length=1)
    count: int = Field(default=1, ge=0)
    after: str = ""


class Raw(Table):
    """Send these very bytes instead of an HTTP answer: `before`, `unit` so many times, `after`, each as Latin-1.

    Attributes:
        end: what becomes of the connection then: a FIN, a RST, or nothing more is sent.
    """

    do: Literal["raw"] = "raw"
    before: str = ""
    unit: str = Field(default=" ", min_length=1)
    count: int = Field(default=0, ge=0)
    after: str = ""
    end: Literal["close", "reset", "stall"] = "close"

    @model_validator(mode="after")
    def _check_bytes(self) -> Self:
        try:
            (self.before + self.unit + self.after).encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError("raw bytes are written as the characters U+0000 to U+00FF") from None
        return self


class Expire(Table):
    """From this request on, the value of its Authorization header is worth nothing: whoever sends it (or sends none,
    as this request did) gets a 401, until another value comes.
    """

    do: Literal["expire"] = "expire"


class Down(Table):
    """Reset all connections and refuse new ones, for so many seconds; None: until the origin stops."""

    do: Literal["down"] = "down"
    for_s: float | None = Field(default=None, ge=0)
