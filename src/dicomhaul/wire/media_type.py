"""Content-Type values, read as RFC 9110 section 8.3.1 writes them and a little beyond.

Real servers leave quotes out (`type=application/dicom`), put spaces around `=`, repeat semicolons and write
names in any case. None of that hides what they mean, so reading never fails:
what makes no sense is left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_TYPE = re.compile(r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?=;|,|\Z)")
_PARAMETER = re.compile(
    r""";[ \t]*
        (?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*
        (?:"(?P<quoted>(?:[^"\\]|\\.)*)(?:"|\Z)|(?P<bare>[^;]*))
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MAX_CHARS = 8192


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type and its parameters.

    Attributes:
        type: `type/subtype` in lower case; '' where the value holds none.
        parameters: values by lower-case name, without quotes, in the case they came in. Of a name that comes
            twice, the first counts.
    """

    type: str = ""
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def boundary(self) -> str | None:
        """What separates the parts of a multipart body, or None where the value does not say."""
        return self.parameters.get("boundary") or None


def parse_media_type(value: str | None) -> MediaType:
    """Read the value of a Content-Type header; None and nonsense give an empty `MediaType`. Never raises."""
    text = (value or "")[:_MAX_CHARS]
    found = _TYPE.match(text)
    if found is None:
        return MediaType()
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(text, found.end()):
        quoted = match["quoted"]
        content = match["bare"].strip() if quoted is None else _ESCAPE.sub(r"\1", quoted)
        parameters.setdefault(match["name"].lower(), content)
    return MediaType(found[1].lower(), MappingProxyType(parameters))
