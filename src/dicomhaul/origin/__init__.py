"""The embedded DICOMweb origin, for tests and demonstrations: it plays real servers, with their faults.

1. A `catalog` says what there is: made up for cohort rows (`synthetic`), or a `folder` of real files.
2. A `style` says whom to play; a fault script (`faults`) says what to do wrong.
3. `serve` answers QIDO-RS and WADO-RS on a port and keeps a journal of what it was asked for.

Nothing outside of `cli.origin` and the tests may import this room: pydicom and a server have no place in a
transfer.
"""

from dicomhaul.origin.catalog import Catalog
from dicomhaul.origin.faults import Cut, Part, Rule, Script, Stall, Status, Truncate, read_script
from dicomhaul.origin.folder import scan_folder
from dicomhaul.origin.journal import Entry
from dicomhaul.origin.server import Origin, serve
from dicomhaul.origin.style import STYLES, Style
from dicomhaul.origin.synthetic import MIXED, synthetic_catalog

__all__ = [
    "MIXED",
    "STYLES",
    "Catalog",
    "Cut",
    "Entry",
    "Origin",
    "Part",
    "Rule",
    "Script",
    "Stall",
    "Status",
    "Style",
    "Truncate",
    "read_script",
    "scan_folder",
    "serve",
    "synthetic_catalog",
]
