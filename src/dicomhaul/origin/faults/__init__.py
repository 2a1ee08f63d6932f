"""What an origin does wrong on purpose, as data: a script of rules, read from TOML or built in Python.

    seed = 7

    [[rule]]
    path = "/series/"                 # a regular expression searched in the path below the base URL
    level = "series"                  # search, study, series, instance, metadata; listing, object; usage
    times = [1, 2]                    # the first and the second matching request ...
    every = 5                         # ... or each fifth ...
    chance = 0.1                      # ... or one in ten; without any of these, all
    each_path = true                  # count each path on its own
    most = 3                          # strike at most three times in all
    action = { do = "status", status = 503, retry_after_s = 2, body = "busy" }

Actions come in three families, each of which has a module that documents it:

1. `instead` of an answer: Status, Redirect, Flood, Raw, Expire, Down.
2. A right `body` wrongly sent: Cut, Stall, Truncate, Slow, Gzip, Range.
3. Wrong `content`, rightly sent: Part, Multipart, Pages.

An action that cannot strike what was asked for (pages of an instance, a cut behind the end of the body) does nothing,
and the journal says so: `Entry.fault` is then "". Carrying actions out is the servers' work.
"""

from dicomhaul.origin.faults.body import Cut, Gzip, Outer, Range, Slow, Stall, Struck, Truncate
from dicomhaul.origin.faults.content import Multipart, Pages, Part
from dicomhaul.origin.faults.instead import Down, Expire, Flood, Raw, Redirect, Status
from dicomhaul.origin.faults.script import Action, Level, Rule, Script, read_script

__all__ = [
    "Action",
    "Cut",
    "Down",
    "Expire",
    "Flood",
    "Gzip",
    "Level",
    "Multipart",
    "Outer",
    "Pages",
    "Part",
    "Range",
    "Raw",
    "Redirect",
    "Rule",
    "Script",
    "Slow",
    "Stall",
    "Status",
    "Struck",
    "Truncate",
    "read_script",
]
