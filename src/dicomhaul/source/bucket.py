"""Instances from IDC's public buckets: plain GET, one object an instance."""

from dicomhaul.model import Identity, ObjectRef, Partial
from dicomhaul.net.host import Host
from dicomhaul.ports import Sink
from dicomhaul.profile import Profile


class BucketSource:
    """Implements `ports.ObjectSource`. `compare`: hold what comes against the digest that the bucket states."""

    def __init__(self, name: str, host: Host, profile: Profile, *, compare: bool) -> None:
        self._name = name
        self._host = host
        self._profile = profile
        self._compare = compare

    @property
    def name(self) -> str:
        """What the plan, the ledger and messages call it."""
        return self._name

    async def listing(self, bucket: str, revision: str) -> list[ObjectRef]:
        raise NotImplementedError

    async def fetch(self, ref: ObjectRef, sink: Sink, partial: Partial | None = None) -> None:
        raise NotImplementedError

    async def identify(self, ref: ObjectRef) -> Identity:
        raise NotImplementedError
