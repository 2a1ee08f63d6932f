"""What is measured: sizes, lines, limits, who runs, and the bars that dicomhaul is to reach. Data alone.

Sizes are those of IDC: CT is what it has most of, MR of 9 KB is the smallest that it has much of, slides are the
largest. `quick` sizes are for trying things out; their figures mean nothing.
"""

from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.data import Shape
from benchmarks.origin_nginx import Limit
from benchmarks.relay import Line

CT_BYTES: Final = 525_000
MR_BYTES: Final = 9_000

# SELECT CAST(median(instances) AS INTEGER), CAST(median(bytes) AS BIGINT) FROM (
#   SELECT instanceCount AS instances, series_size_MB * 1e6 / instanceCount AS bytes,
#          ntile(20) OVER (ORDER BY series_size_MB, crdc_series_uuid) AS bin FROM idc_index
# ) GROUP BY bin ORDER BY bin
# on idc-index-data 25: the middle of each twentieth of IDC's series. In an order that chance gave, once: sorted, those
# who do not put the largest first would wait for it at the end.
IDC_TWENTIETHS: Final = (
    Shape(15, 530_257),
    Shape(112, 527_072),
    Shape(158, 526_750),
    Shape(1, 110_835_166),
    Shape(5, 49_726_992),
    Shape(4, 36_524_179),
    Shape(5, 134_350_850),
    Shape(2, 690_470),
    Shape(1, 90_337_882),
    Shape(1, 487_557),
    Shape(63, 527_875),
    Shape(1, 352_088),
    Shape(138, 526_643),
    Shape(1, 641_643),
    Shape(1, 31_415),
    Shape(1, 604_709),
    Shape(42, 528_170),
    Shape(1, 522_180),
    Shape(2, 1_304_082),
    Shape(1, 563_583),
)

DICOMHAUL: Final = "dicomhaul"
DICOMHAUL_BUCKET: Final = "dicomhaul, bucket"
DICOMHAUL_MD5: Final = "dicomhaul, bucket, MD5"
CURL: Final = "curl -Z"
ARIA2: Final = "aria2"
S5CMD: Final = "s5cmd"
DICOMWEB_CLIENT: Final = "dicomweb-client"
IDC_INDEX: Final = "idc-index"
IDC_CLIENT: Final = "IDCClient"


def way_of(ours: str) -> str:
    """Return how it comes, of a contender that is dicomhaul: '' over WADO-RS."""
    return ours.removeprefix(DICOMHAUL).removeprefix(", ")


_BODIES: Final = (DICOMHAUL, CURL, ARIA2, DICOMWEB_CLIENT)
_OBJECTS: Final = (DICOMHAUL_BUCKET, S5CMD)
_LINE: Final = Line()


@dataclass(frozen=True)
class Workload:
    """Bytes to move.

    Attributes:
        key: how the command line calls it.
        title: how the report does.
        shapes: series, each with its instances.
        quick: fewer of them.
        contenders: who runs, in this order, one after the other.
        at_once: connections of those peers whose number has to be said.
        server: who serves.
        line: what lies between; None: loopback as it is.
        limit: what the server allows; None: everything.
    """

    key: str
    title: str
    shapes: tuple[Shape, ...]
    quick: tuple[Shape, ...]
    contenders: tuple[str, ...]
    at_once: int = 4
    server: Literal["nginx", "orthanc"] = "nginx"
    line: Line | None = None
    limit: Limit | None = None


def _ct(series: int) -> tuple[Shape, ...]:
    return (Shape(120, CT_BYTES),) * series


_SINGLE: Final = (Shape(1, MR_BYTES),) * 1_000
_MANY: Final = (Shape(1, MR_BYTES),) * 6_000  # two minutes, in which what was learned of the limit pays
_FEW: Final = (Shape(1, MR_BYTES),) * 200

TRANSFERS: Final = (
    Workload("a", "CT, 525 KB", _ct(80), _ct(4), (*_BODIES, *_OBJECTS, DICOMHAUL_MD5, IDC_INDEX)),
    Workload(
        "b",
        "MR, 9 KB x 16,000",
        (Shape(2_000, MR_BYTES),) * 8,
        (Shape(1_100, MR_BYTES),) * 2,
        (*_BODIES, *_OBJECTS, DICOMHAUL_MD5, IDC_INDEX),
    ),
    Workload("c", "WSI, 4 x 1 GB", (Shape(1, 10**9),) * 4, (Shape(1, 10**8),) * 2, _BODIES),
    Workload("c-bucket", "WSI, 4 x 1 GB, bucket", (Shape(1, 10**9),) * 4, (Shape(1, 10**8),) * 2, _OBJECTS),
    Workload("d", "mixed as IDC is", IDC_TWENTIETHS, IDC_TWENTIETHS[:8], (*_BODIES, *_OBJECTS)),
    Workload(
        "e",
        "50 ms, 200 ms, 100 MB/s",
        _ct(32),
        _ct(6),
        (DICOMHAUL, CURL, ARIA2, DICOMWEB_CLIENT, *_OBJECTS),
        at_once=16,
        line=_LINE,
    ),
    Workload(
        "f",
        "50 requests/s, Retry-After",
        _SINGLE,
        _FEW,
        (DICOMHAUL, CURL, DICOMWEB_CLIENT, S5CMD),
        limit=Limit(requests_per_s=50, burst=10, retry_after=True),
    ),
    Workload(
        "f-silent",
        "50 requests/s, without it",
        _SINGLE,
        _FEW,
        (DICOMHAUL, DICOMWEB_CLIENT, S5CMD),  # curl waits twice as long each time: it is not done after ten minutes
        limit=Limit(requests_per_s=50, burst=10, retry_after=False),
    ),
    Workload(
        "f-long",
        "50 requests/s, 6,000 of them",
        _MANY,
        _FEW,
        (DICOMHAUL,),
        limit=Limit(requests_per_s=50, burst=10, retry_after=True),
    ),
    Workload(
        "f-long-silent",
        "the same without Retry-After",
        _MANY,
        _FEW,
        (DICOMHAUL,),
        limit=Limit(requests_per_s=50, burst=10, retry_after=False),
    ),
    Workload("g", "Orthanc, CT", _ct(12), _ct(2), (DICOMHAUL, CURL, DICOMWEB_CLIENT), server="orthanc"),
)


@dataclass(frozen=True)
class Bar:
    """What a contender of ours is to reach in a workload.

    Attributes:
        metric: a figure of its row; `speed`: of the peer's wall time, pair by pair; `memory`: of the peer's, likewise.
        bound: the least, or, where `most`, the largest that will do.
        peer: who it is held against, for `speed` and `memory`.
        ours: which of ours.
    """

    workload: str
    metric: Literal["speed", "memory", "peak_mb", "line_share", "allowed_share", "wasted_share", "first_byte_s"]
    bound: float
    most: bool = False
    peer: str = ""
    ours: str = DICOMHAUL


BARS: Final = (
    Bar("a", "speed", 1.0, peer=CURL),
    Bar("a", "speed", 1.6, peer=S5CMD),
    Bar("a", "speed", 2.5, peer=DICOMWEB_CLIENT),
    Bar("a", "speed", 1.2, peer=S5CMD, ours=DICOMHAUL_BUCKET),
    Bar("a", "speed", 1.0, peer=S5CMD, ours=DICOMHAUL_MD5),
    Bar("b", "speed", 2.0, peer=S5CMD, ours=DICOMHAUL_BUCKET),
    Bar("b", "speed", 5.0, peer=S5CMD),
    Bar("b", "speed", 6.0, peer=DICOMWEB_CLIENT),
    Bar("c", "speed", 0.95, peer=CURL),
    Bar("c", "peak_mb", 100.0, most=True),
    Bar("e", "line_share", 0.90),
    Bar("e", "line_share", 0.90, ours=DICOMHAUL_BUCKET),
    Bar("f", "allowed_share", 0.95),
    Bar("f", "wasted_share", 0.02, most=True),
    Bar("f-silent", "allowed_share", 0.95),
    Bar("f-silent", "wasted_share", 0.02, most=True),
    Bar("f-long", "allowed_share", 0.95),
    Bar("f-long", "wasted_share", 0.02, most=True),
    Bar("f-long-silent", "allowed_share", 0.95),
    Bar("f-long-silent", "wasted_share", 0.02, most=True),
    Bar("h", "first_byte_s", 2.0, most=True),
    Bar("h", "peak_mb", 100.0, most=True),
    Bar("i", "speed", 10.0, peer=IDC_CLIENT),
    Bar("i", "memory", 0.25, most=True, peer=IDC_CLIENT),
)
