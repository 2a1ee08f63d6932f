"""What the Accept header of a retrieve asks for (PS3.18 section 8.7), and whether a style can give it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from dicomhaul.origin.style import Style

EXPLICIT_LE = "1.2.840.10008.1.2.1"


@dataclass(frozen=True, slots=True)
class Offer:
    """The form of the answer. `syntax` is a transfer syntax UID, or `*` for whatever is stored."""

    multipart: bool
    syntax: str

    def gives(self, stored: str) -> bool:
        """Say whether an instance with this transfer syntax can be sent; nothing is transcoded here."""
        return self.syntax in {"*", stored}


def choose_offer(accept: str, style: Style, *, one_instance: bool) -> Offer | None:
    """Return the first acceptable form, in the order of the header; None: refuse.

    Without a transfer syntax the standard's default is Explicit VR Little Endian. `*/*` and no header at all
    mean multipart, as stored.
    """
    if not accept.strip():
        return Offer(multipart=True, syntax="*")
    for media_type, parameters in _iter_media_types(accept):
        syntax = parameters.get("transfer-syntax", EXPLICIT_LE)
        if media_type == "*/*":
            return Offer(multipart=True, syntax="*")
        if media_type == "multipart/related" and parameters.get("type", "application/dicom") == "application/dicom":
            return Offer(multipart=True, syntax=syntax)
        if media_type == "application/dicom" and style.single and one_instance:
            return Offer(multipart=False, syntax=syntax)
    return None


def _iter_media_types(accept: str) -> Iterator[tuple[str, dict[str, str]]]:
    for one in _split_outside_quotes(accept):
        message = Message()
        message["Content-Type"] = one
        parameters = {str(k).lower(): str(v) for k, v in message.get_params([], header="Content-Type")[1:]}
        yield one.partition(";")[0].strip().lower(), parameters


def _split_outside_quotes(text: str) -> Iterator[str]:
    part, quoted = "", False
    for char in text:
        quoted ^= char == '"'
        if char == "," and not quoted:
            yield part
            part = ""
        else:
            part += char
    yield part
