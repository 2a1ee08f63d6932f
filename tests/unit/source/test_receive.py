"""The parts of an answer on their way into a sink: judged one by one, so that a bad one costs no good one."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.errors import DamagedError, NotDicom, Truncated, WrongInstance
from dicomhaul.model import Check, Identity, Job, SeriesUID, Stated
from dicomhaul.source.receive import Receiver
from support.fakes import STUDY, MemorySink
from support.instances import make_instance

JOB = Job(1, STUDY, SeriesUID("1.1"))


def instance(sop: str, *, series: str = "1.1", pixels: bytes = bytes(64)) -> bytes:
    return make_instance(sop, study=STUDY, series=series, pixels=pixels)


class PickySink(MemorySink):
    """Takes only instances of its job's series; notes the calls."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        super().__init__(JOB, known, {})
        self.calls: list[str] = []

    def begin(self, stated: Stated | None = None) -> None:
        self.calls.append("begin")
        super().begin(stated)

    def end(self, identity: Identity) -> None:
        self.calls.append("end")
        if identity.series != JOB.series:
            raise WrongInstance("another series")
        super().end(identity)

    def discard(self) -> None:
        self.calls.append("discard")
        super().discard()

    def gone_by(self) -> None:
        self.calls.append("gone by")


def feed(receiver: Receiver, *parts: bytes, step: int = 50) -> None:
    for part in parts:
        receiver.begin({})
        for at in range(0, len(part), step):
            receiver.data(memoryview(part)[at : at + step])
        receiver.end()


@given(st.integers(1, 700))
def test_good_parts_arrive_as_they_are(step: int) -> None:
    sink = PickySink()
    receiver = Receiver(sink)
    feed(receiver, instance("4.1"), instance("4.2"), step=step)
    assert sink.taken == {"4.1": instance("4.1"), "4.2": instance("4.2")}
    assert receiver.error is None
    assert sink.calls == ["begin", "end"] * 2


def test_a_known_part_is_discarded_as_soon_as_it_is_named() -> None:
    sink = PickySink(known=["4.1"])
    receiver = Receiver(sink)
    receiver.begin({})
    content = instance("4.1", pixels=bytes(10_000))
    receiver.data(memoryview(content)[:2000])
    assert sink.calls == ["begin", "discard"]
    receiver.data(memoryview(content)[2000:])
    receiver.end()
    assert (sink.taken, receiver.error, sink.calls) == ({}, None, ["begin", "discard", "gone by"])


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (instance("4.1")[:-10], Truncated),
        (b"<html>not today</html>" * 100, NotDicom),
        (b"", Truncated),
        (instance("4.1", series="1.2"), WrongInstance),
    ],
)
def test_a_bad_part_is_dropped_and_the_others_are_kept(bad: bytes, error: type[DamagedError]) -> None:
    sink = PickySink()
    receiver = Receiver(sink)
    feed(receiver, instance("4.0"), bad, instance("4.2"))
    assert set(sink.taken) == {"4.0", "4.2"}
    assert isinstance(receiver.error, error)
    assert sink.calls.count("discard") == 1


def test_the_first_error_is_the_one_that_is_told() -> None:
    receiver = Receiver(PickySink())
    feed(receiver, b"<html>" * 100, instance("4.1")[:-10])
    assert isinstance(receiver.error, NotDicom)


def test_what_the_sink_refuses_by_name_is_dropped() -> None:
    class Refusing(PickySink):
        def wants(self, sop: str) -> bool:
            raise WrongInstance("not this one")

    sink = Refusing()
    receiver = Receiver(sink)
    feed(receiver, instance("4.1"))
    assert isinstance(receiver.error, WrongInstance)
    assert sink.taken == {}


def _encapsulated(sop: str, behind: bytes) -> bytes:
    """An instance whose pixel data are one fragment and then this."""
    plain = instance(sop)
    begun = plain[: plain.index(b"\xe0\x7f\x10\0OW")]
    fragment = b"\xfe\xff\0\xe0\x04\0\0\0\xff\xd8\xff\xd9"
    return begun + b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + fragment + behind


_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


@pytest.mark.parametrize(
    "bad",
    [
        _encapsulated("4.1", b"<html>500 Internal Server Error</html>"),
        instance("4.1") + bytes(40) + b"<html>500 Internal Server Error</html>",
        make_instance("4.1", study=STUDY, series="1.1", described=True)[:-76] + bytes(76),
    ],
    ids=["an error's text between fragments", "text behind zeros", "zeros instead of pixels"],
)
def test_what_is_no_data_set_to_its_end_does_not_land(bad: bytes) -> None:
    """The server's framing is whole around it: the server itself has gone wrong in the middle."""
    sink = PickySink()
    receiver = Receiver(sink)
    feed(receiver, bad, _encapsulated("4.2", _SEQUENCE_END), instance("4.3") + bytes(41))
    assert set(sink.taken) == {"4.2", "4.3"}
    assert isinstance(receiver.error, Truncated)


def test_what_a_bucket_states_lands_as_it_is_stored() -> None:
    """Its size or digest is compared as it is written: the archive has it no better."""
    content = _encapsulated("4.1", b"rubbish rubbish!")
    sink = PickySink()
    receiver = Receiver(sink)
    receiver.begin_object(Stated("x", len(content), None, Check.SIZE, None))
    receiver.data(memoryview(content))
    receiver.end()
    assert set(sink.taken) == {"4.1"}
