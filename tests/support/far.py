"""A host as another process of the run has it: what it asks goes through pickle and a desk, and back at once."""

import asyncio
import pickle
from typing import Any, cast

from dicomhaul.crew.desk import Desk
from dicomhaul.crew.remote import Link, RemoteCredentials, RemoteGate, RemoteQuota
from dicomhaul.events import Tally
from dicomhaul.net.auth.fixed import NoCredentials
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.net.gate import Gate, GateStatistics
from dicomhaul.net.host import Host, Shared
from dicomhaul.net.quota import Quota
from dicomhaul.net.retry import Retry
from dicomhaul.net.session import Session
from dicomhaul.ports import Clock, Credentials
from dicomhaul.profile import built_in


def shared_host(
    gate: Gate, clock: Clock, *, quota: Quota | None = None, credentials: Credentials | None = None
) -> Host:
    """Return a host, as the parent has it, that is never asked for anything."""
    profile = built_in("generic")
    host = Host(
        "pacs",
        session=cast("Session", None),
        gate=gate,
        retry=Retry(3, sleep=clock.sleep),
        profile=profile,
        observer=lambda _: None,
        tally=Tally(),
        quota=quota,
    )
    host.shared = Shared(Endpoint("http://pacs/dicom-web", profile, 8), credentials or NoCredentials(), gate)
    return host


class FarGate(RemoteGate):
    """A gate that another process has; its statistics are read there."""

    def __init__(self, link: Link, gate: Gate) -> None:
        super().__init__(link, 0)
        self._real = gate

    def statistics(self) -> GateStatistics:
        """See `Gate.statistics`."""
        return self._real.statistics()


class Far:
    """One hand and its desk for a host. Made within an event loop.

    Attributes:
        desk: of the parent.
        gate, quota, credentials: as the hand has them.
    """

    def __init__(self, host: Host, clock: Clock) -> None:
        assert host.shared is not None
        self.desk = Desk(host, lambda reply: self._link.heard(_sent(reply)))
        self._link = Link(self._say)
        self._tasks = {asyncio.get_running_loop().create_task(self.desk.serve())}
        self.gate = FarGate(self._link, host.shared.gate)
        self.quota = RemoteQuota(self._link, 0)
        self.credentials = RemoteCredentials(self._link, 0, clock)

    def _say(self, message: Any) -> None:
        question = self.desk.hear(_sent(message))
        if question is not None:
            task = asyncio.get_running_loop().create_task(self.desk.answer(question))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def _sent(message: Any) -> Any:
    return pickle.loads(pickle.dumps(message))
