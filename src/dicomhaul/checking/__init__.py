"""Looking without touching: what a destination holds against what its source holds. Moves nothing, changes nothing.

1. `check` plans the cohorts again, into a ledger of its own that is thrown away: what the source would give today.
2. `present` looks at the destination, series by series: the ledger says what is to be there, the tree says what is.
3. The source is asked for the inventory of each series: its instances by QIDO-RS, or the objects of its revision.
4. `compare`, pure, holds one against the other and gives each instance a mark.
"""
