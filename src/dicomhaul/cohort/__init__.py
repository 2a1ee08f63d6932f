"""What the user asked for -> series rows. Never bytes of instances.

1. `target`    what a TARGET word is, by its looks
2. `manifest`  text that lists UIDs -> entries
3. `gather`    both of a query, read from disk
4. `idc`       rows from IDC's index: DuckDB in a `sandbox`, over the parquet files of `tables`
5. `search`    rows from a server that is searched by QIDO-RS

Runs in a child process: what it loads is heavy, and is gone when the transfer begins.
"""
