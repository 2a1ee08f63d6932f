"""Remembering: what a destination is to hold, and what it is proven to hold.

* `lock` keeps a second writer out.
* `ledger` is the SQLite file: every read and write of it, in plain synchronous methods.
* `recorder` is the one thread that writes it while a run moves bytes. For each batch of synced parts it
  1. commits an intent: which staged file will become which instance;
  2. renames them and syncs the folders;
  3. commits the receipts and forgets the intent.
  So what the ledger says is there, is there; and what a crash leaves between 1 and 3 is adopted by the next run
  (`recovery`), after its bytes were checked.
* `index_parquet` lists what is there for pandas, DuckDB and MONAI.
"""
