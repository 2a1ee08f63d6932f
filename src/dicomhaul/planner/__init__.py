"""Planning, in a child process: DuckDB, the index and a million rows never come near the process that transfers.

* `request` is what the parent says to the child and back: JSON lines.
* `child` answers: it has the cohort resolved by `idc` or `server`, whose rows go to the `sheet`.
* `sheet` gives each row its routes (`routing`, which asks `budget` what is left of a quota today) and either adds it up
  (`plan`: `sums`) or streams it into the ledger (`pull`), in one transaction; `locking` writes a lock of it.
* `standby` starts the child, ahead of a command's own imports where it can.
* `parent` asks it, relays what it says, and stops it when the run is stopped. A child whose parent died ends
  too.
"""
