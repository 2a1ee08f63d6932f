"""Which framing an answer has: many parts, or one.

`framing_for` reads the Content-Type, and looks at the first bytes only where that says nothing useful: some servers
leave the boundary out, or the whole header. Messages name the media type, never what the body holds.
"""

from collections.abc import Mapping
from types import MappingProxyType

from dicomhaul.errors import NotDicom, Truncated
from dicomhaul.wire.media_type import parse_media_type
from dicomhaul.wire.multipart import Framing, MultipartParser, PartHandler

_USELESS = frozenset({"", "*/*", "application/*", "application/octet-stream", "binary/octet-stream"})
_KNOWN = frozenset(
    {"text/html", "text/plain", "text/xml", "application/json", "application/xml", "application/problem+json",
     "application/dicom+json", "application/dicom+xml", "application/zip", "application/pdf", "image/jpeg", "image/png"}
)  # fmt: skip
_KINDS = frozenset({"application", "audio", "image", "text", "video"})
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class SinglePart:
    """A body that is one instance. It has no framing of its own: what cuts it must show in HTTP or in the
    instance.
    """

    def __init__(self, handler: PartHandler) -> None:
        self.lone = True
        self._handler = handler
        self.bytes_seen = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        if not chunk:
            return
        if not self.bytes_seen:
            self._handler.begin(_NO_HEADERS)
        self.bytes_seen += len(chunk)
        self._handler.data(memoryview(chunk))

    def close(self) -> None:
        """Say that the body has ended. Raises Truncated where it was empty."""
        if not self.bytes_seen:
            raise Truncated("the answer is empty")
        self._handler.end()


class Sniffed:
    """A body whose headers do not say what it is: multipart if it begins with `--`, else one instance."""

    def __init__(self, handler: PartHandler, *, trust_lengths: bool) -> None:
        self._handler = handler
        self._trust_lengths = trust_lengths
        self._first = b""
        self._framing: Framing | None = None

    @property
    def lone(self) -> bool:
        """Whether it is one instance; a body too short to tell is none at all."""
        return self._framing is None or self._framing.lone

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body. Raises BadMultipart."""
        if self._framing is None:
            chunk = self._first + chunk
            if len(chunk) < 2:
                self._first = chunk
                return
            self._framing = self._choose(chunk)
        self._framing.feed(chunk)

    def close(self) -> None:
        """Say that the body has ended. Raises Truncated or BadMultipart."""
        if self._framing is None:
            self._framing = SinglePart(self._handler)
            self._framing.feed(self._first)
        self._framing.close()

    def _choose(self, chunk: bytes) -> Framing:
        if chunk.startswith(b"--"):
            return MultipartParser(None, self._handler, trust_lengths=self._trust_lengths)
        return SinglePart(self._handler)


def framing_for(content_type: str | None, handler: PartHandler, *, trust_lengths: bool = True) -> Framing:
    """Choose how to take an answer apart.

    Args:
        content_type: the answer's header, None where there is none.
        handler: takes the parts.
        trust_lengths: see `MultipartParser`.

    Raises:
        NotDicom: the type says that this is something else, an HTML page for example.
    """
    media = parse_media_type(content_type)
    if media.type.startswith("multipart/") and media.boundary is not None:
        return MultipartParser(media.boundary, handler, trust_lengths=trust_lengths)
    if media.type == "application/dicom":
        return SinglePart(handler)
    if media.type in _USELESS or media.type.startswith("multipart/"):
        return Sniffed(handler, trust_lengths=trust_lengths)
    raise NotDicom(f"the server answered with {_named(media.type)} instead of DICOM")


def _named(media_type: str) -> str:
    """Name a media type, if it is one that servers are known to answer with: what they make up could be anything."""
    if media_type in _KNOWN:
        return media_type
    kind = media_type.partition("/")[0]
    return f"{kind}/…" if kind in _KINDS else "a media type of its own"
