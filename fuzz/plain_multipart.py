"""multipart/related read the plain way: all of the body at once, line by line, without a thought for speed or memory.

Written from RFC 2046 section 5.1 and the rules that the module docstring of `dicomhaul.wire.multipart` states, not
from its code. Limits on sizes are left out: who calls this keeps bodies below them.
"""

_PADDING = b" \t"
_MOST_PADDING = 64


def read_plainly(  # noqa: C901, PLR0911, PLR0912 - the plain way is one long story
    body: bytes, boundary: bytes, *, trust_lengths: bool
) -> tuple[str, list[bytes]]:
    """Return how the body ends (`whole`, `Truncated`, `BadMultipart`), and the parts that came whole."""
    first = _first_line(body, boundary)
    if first is None:
        return "Truncated", []
    delimiter, at = first
    if at is None:
        return "whole", []
    newline = delimiter[: delimiter.index(b"--")]
    parts: list[bytes] = []
    while True:
        headers = _headers(body, at)
        if headers is None:
            return "Truncated", parts
        lines, blank, begin = headers
        fields = _fields(lines)
        if fields is None:
            return "BadMultipart", parts
        length = _length(fields) if trust_lengths else 0
        if length:
            end = begin + length
            if end > len(body):
                # The tail that a wrong length swallowed tells it from a body that was cut.
                swallowed = body[max(begin, len(body) - len(delimiter) - 80) :]
                return ("BadMultipart" if delimiter + b"--" in swallowed else "Truncated"), parts
            kind, at = _delimiter_line(body, delimiter, end)
            if kind == "other":
                return "BadMultipart", parts
        else:
            # Right behind the blank line, the newline of an empty part may be that of the blank line.
            search = begin - len(newline) if blank == newline else begin
            while True:
                end = body.find(delimiter, search)
                if end < 0:
                    return "Truncated", parts
                kind, at = _delimiter_line(body, delimiter, end)
                if kind != "other":
                    break
                search = end + 1
            end = max(end, begin)
        if kind == "cut":
            return "Truncated", parts
        parts.append(body[begin:end])
        if kind == "last":
            return "whole", parts


def _first_line(body: bytes, boundary: bytes) -> tuple[bytes, int | None] | None:
    """Return the delimiter, newline first, and where its line ends (None: it closes); None where there is none."""
    wanted = b"--" + boundary.lower()
    for at in range(len(body)):
        if (at and body[at - 1 : at] != b"\n") or body[at : at + len(wanted)].lower() != wanted:
            continue
        rest = body[at + len(wanted) :]
        name = body[at : at + len(wanted)]
        if rest.startswith(b"--"):
            return b"\n" + name, None
        padding = len(rest) - len(rest.lstrip(_PADDING))
        for newline in (b"\r\n", b"\n"):
            if padding <= _MOST_PADDING and rest.startswith(newline, padding):
                return newline + name, at + len(wanted) + padding + len(newline) - 1
    return None


def _delimiter_line(body: bytes, delimiter: bytes, at: int) -> tuple[str, int]:
    """Say what stands at `at`: a `line`, the `last` one, one that is `cut` off, or `other`; and where its LF is."""
    if not body.startswith(delimiter, at):
        return ("cut" if delimiter.startswith(body[at:]) else "other"), at
    rest = body[at + len(delimiter) :]
    if rest.startswith(b"--"):
        return "last", at
    padding = len(rest) - len(rest.lstrip(_PADDING))
    if padding > _MOST_PADDING:
        return "other", at
    behind = rest[padding:]
    for newline in (b"\r\n", b"\n"):
        if behind.startswith(newline):
            return "line", at + len(delimiter) + padding + len(newline) - 1
    return ("cut" if behind in {b"", b"\r"} or rest == b"-" else "other"), at


def _headers(body: bytes, at: int) -> tuple[list[str], bytes, int] | None:
    """Return the header lines behind the LF at `at`, the blank line that ends them, and where the payload begins."""
    lines: list[str] = []
    begin = at + 1
    while True:
        end = body.find(b"\n", begin)
        if end < 0:
            return None
        line = body[begin : end + 1]
        if line in {b"\n", b"\r\n"}:
            return lines, line, end + 1
        lines.append(line[:-1].decode("latin-1"))
        begin = end + 1


def _fields(lines: list[str]) -> dict[str, str] | None:
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[0] in " \t" and name:
            fields[name] += " " + line.strip()
        elif ":" in line:
            name = line.split(":", 1)[0].strip().lower()
            fields[name] = line.split(":", 1)[1].strip()
        else:
            return None
    return fields


def _length(fields: dict[str, str]) -> int:
    text = fields.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0
