"""Takes secrets out of text on its way into a log: the second line of defence. Pure.

The first is that nothing puts them into a message: this is for what foreign libraries say. DICOM UIDs stay.
"""

import re
from typing import Any, Final

HIDDEN: Final = "[hidden]"

_RULES: Final = (
    # A header's value goes to the end of its line or of its quotes: schemes differ in how many words they have.
    (
        re.compile(
            r"(?i)((?:proxy-)?authorization['\"]?\s*[:=,]\s*+)(?!\[hidden\])(?:b?'[^']*'|b?\"[^\"]*\"|[^\r\n'\"]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer|basic|negotiate)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?"), HIDDEN),  # a JSON Web Token
    (re.compile(r"\bya29\.[A-Za-z0-9._-]+"), HIDDEN),  # a Google access token
    (
        re.compile(
            r"(?i)\b((?:access_|refresh_|id_)?token|password|passwd|secret|api_?key|sig)(['\"]?\s*[=:]\s*)[^\s,;&]+"
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@?#]+@"), rf"\1{HIDDEN}@"),  # user and password of a URL
    (re.compile(r"\?[^\s?'\"<>=]+=[^\s'\"<>]*"), f"?{HIDDEN}"),  # a query string can hold a patient's name
)


def redact(text: str) -> str:
    """Return `text` without credentials, tokens and query strings."""
    for pattern, put in _RULES:
        text = pattern.sub(put, text)
    return text


def redact_values(value: Any) -> Any:
    """Return `value` with every text in it redacted, as far as lists and mappings go."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(inner) for inner in value]
    return value
