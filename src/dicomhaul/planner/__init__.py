"""Planning, in a child process: DuckDB, the index and a million rows never come near the process that transfers.

* `request` is what the parent says to the child and back: JSON lines.
* `child` resolves the cohort and either adds it up (`plan`) or streams it into the ledger (`pull`), in one transaction.
* `parent` starts the child, relays what it says, and stops it when the run is stopped. A child whose parent died ends
  too.
"""
