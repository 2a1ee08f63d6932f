"""Answers of a search, in the DICOM JSON Model (PS3.18 Annex F).

Nothing that a server sends is taken for what it should be: an attribute may be missing, empty, null, of another type or
nested anyhow, and then it has no value. Only an answer that cannot be one at all is an error. What an answer becomes in
memory is bounded before it is parsed: its length by who reads it, the number of its values here, since three bytes of
JSON can become a hundred.

Tags are written as the model writes them: eight hexadecimal digits in upper case, `"0020000D"`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from dicomhaul.errors import NotDicom

STUDY_UID = "0020000D"
SERIES_UID = "0020000E"
SOP_UID = "00080018"
MODALITY = "00080060"
PATIENT_ID = "00100020"
SERIES_INSTANCES = "00201209"  # Number of Series Related Instances
STUDY_SERIES = "00201206"  # Number of Study Related Series
STUDY_INSTANCES = "00201208"  # Number of Study Related Instances

_IS_LIMIT = 1 << 31
_MOST_VALUES: Final = 6_000_000  # Google's largest page, of 50,000 instances, has about half of it
_MOST_CHARS: Final = 1024  # of one text; a UID has 64, a patient's identifier too

Attributes = Mapping[str, Any]


def parse_answer(body: bytes) -> list[Attributes]:
    """Read the body of a search answer: a list of attribute sets, or a lone one, as some servers send it.

    An empty body (204) is an empty list. Raises NotDicom where the body is not that.
    """
    if not body.strip():
        return []
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _MOST_VALUES:
        raise NotDicom(f"the answer to a search ({len(body)} bytes) holds more than {_MOST_VALUES:,} values")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):  # ValueError: not JSON, not UTF-8, or a number of thousands of digits
        raise NotDicom(f"the answer to a search ({len(body)} bytes) is not JSON") from None
    rows = [answer] if isinstance(answer, dict) else answer
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise NotDicom(f"the answer to a search ({len(body)} bytes) is not a list of DICOM attributes")
    return rows


def values(row: Attributes, tag: str) -> list[Any]:
    """Return what the attribute's Value holds, as JSON gave it; [] where there is none."""
    attribute = row.get(tag)
    found = attribute.get("Value") if isinstance(attribute, dict) else None
    return found if isinstance(found, list) else []


def first_string(row: Attributes, tag: str) -> str | None:
    """Return the attribute's first value without padding; None where that is no text, or empty text.

    It is text that can be written: half of a surrogate pair becomes a question mark. Of more than 1,024 characters,
    which no identifier has, the first are returned.
    """
    found = values(row, tag)
    if not found or not isinstance(found[0], str):
        return None
    text = found[0][:_MOST_CHARS].strip(" \0")
    return (text if text.isascii() else text.encode("utf-8", "replace").decode()) or None


def first_int(row: Attributes, tag: str) -> int | None:
    """Return the attribute's first value as a number; None where it is none.

    Numbers come as numbers or, from some servers, as decimal strings; both count where they are whole and have 32 bits,
    as an integer of DICOM does (PS3.5 section 6.2, IS).
    """
    found = values(row, tag)
    number = found[0] if found else None
    if isinstance(number, str) and len(number) <= 20:
        text = number.strip()
        number = int(text) if text.isascii() and text.isdigit() else None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not -_IS_LIMIT <= number < _IS_LIMIT:
        return None
    return int(number) if number == int(number) else None
