"""A mirror that follows its source: what is new comes, what is revised is exchanged, what has gone leaves.

plan the cohort as it is now, beside what is held; refuse what would remove too much    [planner, record]
haul: new series to their place, new revisions beside the old ones                      [run, transfer]
exchange each revision that is complete, in one step                                    [record.swaps]
move what left to the trash, once no source failed; empty it of what is old             [record.removals, land.trash]
"""

from dicomhaul.sync.course import sync
from dicomhaul.sync.foresight import foresee

__all__ = ["foresee", "sync"]
