"""The embedded origin, for tests and demonstrations: it plays real servers, with their faults.

1. A `catalog` says what there is: made up for cohort rows (`synthetic`), or a `folder` of real files. `holdings` say in
   which bucket, and under which names, IDC keeps it.
   `living` is one that changes, as its `chronicle` has it, which a `feed` tells.
2. A `style` says whom to play; a fault script (`faults`) says what to do wrong.
3. `serve` answers QIDO-RS and WADO-RS on a port, `serve_bucket` listings and objects, `serve_idc` plays all of IDC: its
   buckets, its proxy with the daily `allowance`, its store on Google. Each keeps a journal of what it was asked for.

What stands in `__all__` is meant for the tests of other projects as well; clients of any kind, in any language, can ask
an origin. Of the first two answers one part is missing, and the third is a 503:

    from dicomhaul.origin import Part, Rule, Script, Series, Status, in_thread, serve, synthetic_catalog

    rows = [Series(study="1.2.3", series="1.2.3.4", modality="CT", expected=20, size_bytes=10_000_000)]
    script = Script([
        Rule(level="series", times={1, 2}, action=Part(wrong="omit", index=-1)),
        Rule(level="series", times={3}, action=Status(status=503, retry_after_s=1)),
    ])

    def test_my_client():
        with in_thread(serve(synthetic_catalog(rows), faults=script)) as origin:
            ...  # ask origin.url
            assert [entry.fault for entry in origin.requests] == ["part", "part", "status", ""]

In async code it is `async with serve(...) as origin`; in another process `dicomhaul origin --faults FILE`, which tells
its journal as JSON under `/_origin/journal` of its host. TLS is `serve(..., tls=make_identity("expired").context)`.
Two faults need no origin: a host whose name cannot be resolved (any name below `.invalid`, RFC 6761), and one that
refuses connections (a port on which nobody listens; in the middle of a run it is the action `down`).

Nothing but the command line (`cli`), the demonstration (`demo`) and the tests may import this room: pydicom and a
server have no place in a transfer.
"""

from dicomhaul.model import Series
from dicomhaul.origin.allowance import Allowance
from dicomhaul.origin.bucket import BucketOrigin, serve_bucket
from dicomhaul.origin.catalog import Catalog
from dicomhaul.origin.chronicle import Chronicle
from dicomhaul.origin.faults import (
    Action,
    Cut,
    Down,
    Expire,
    Flood,
    Gzip,
    Multipart,
    Pages,
    Part,
    Range,
    Raw,
    Redirect,
    Rule,
    Script,
    Slow,
    Stall,
    Status,
    Truncate,
    read_script,
)
from dicomhaul.origin.feed import AzureFeed, OrthancRest
from dicomhaul.origin.folder import scan_folder
from dicomhaul.origin.front import Front
from dicomhaul.origin.holdings import Holdings, Revision, stored_holdings, synthetic_holdings
from dicomhaul.origin.idc import IdcName, IdcOrigins, Settings, open_one, profile_toml, serve_idc
from dicomhaul.origin.journal import Entry
from dicomhaul.origin.living import LivingArchive
from dicomhaul.origin.server import Origin, serve
from dicomhaul.origin.style import STYLES, Style
from dicomhaul.origin.synthetic import MIXED, synthetic_catalog
from dicomhaul.origin.thread import in_thread
from dicomhaul.origin.tls import Certificate, Identity, make_identity

__all__ = [
    "MIXED",
    "STYLES",
    "Action",
    "Allowance",
    "AzureFeed",
    "BucketOrigin",
    "Catalog",
    "Certificate",
    "Chronicle",
    "Cut",
    "Down",
    "Entry",
    "Expire",
    "Flood",
    "Front",
    "Gzip",
    "Holdings",
    "IdcName",
    "IdcOrigins",
    "Identity",
    "LivingArchive",
    "Multipart",
    "Origin",
    "OrthancRest",
    "Pages",
    "Part",
    "Range",
    "Raw",
    "Redirect",
    "Revision",
    "Rule",
    "Script",
    "Series",
    "Settings",
    "Slow",
    "Stall",
    "Status",
    "Style",
    "Truncate",
    "in_thread",
    "make_identity",
    "open_one",
    "profile_toml",
    "read_script",
    "scan_folder",
    "serve",
    "serve_bucket",
    "serve_idc",
    "stored_holdings",
    "synthetic_catalog",
    "synthetic_holdings",
]
