"""The embedded origin, for tests and demonstrations: it plays real servers, with their faults.

1. A `catalog` says what there is: made up for cohort rows (`synthetic`), or a `folder` of real files. `holdings` say in
   which bucket, and under which names, IDC keeps it.
2. A `style` says whom to play; a fault script (`faults`) says what to do wrong.
3. `serve` answers QIDO-RS and WADO-RS on a port, `serve_bucket` listings and objects, `serve_idc` plays all of IDC: its
   buckets, its proxy with the daily `allowance`, its store on Google. Each keeps a journal of what it was asked for.

Nothing but the command line (`cli`), the demonstration (`demo`) and the tests may import this room: pydicom and a
server have no place in a transfer.
"""

from dicomhaul.origin.allowance import Allowance
from dicomhaul.origin.bucket import BucketOrigin, serve_bucket
from dicomhaul.origin.catalog import Catalog
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
from dicomhaul.origin.folder import scan_folder
from dicomhaul.origin.front import Front
from dicomhaul.origin.holdings import Holdings, Revision, stored_holdings, synthetic_holdings
from dicomhaul.origin.idc import IdcName, IdcOrigins, Settings, open_one, profile_toml, serve_idc
from dicomhaul.origin.journal import Entry
from dicomhaul.origin.server import Origin, serve
from dicomhaul.origin.style import STYLES, Style
from dicomhaul.origin.synthetic import MIXED, synthetic_catalog

__all__ = [
    "MIXED",
    "STYLES",
    "Action",
    "Allowance",
    "BucketOrigin",
    "Catalog",
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
    "Multipart",
    "Origin",
    "Pages",
    "Part",
    "Range",
    "Raw",
    "Redirect",
    "Revision",
    "Rule",
    "Script",
    "Settings",
    "Slow",
    "Stall",
    "Status",
    "Style",
    "Truncate",
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
