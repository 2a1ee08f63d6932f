"""The audit log: what was done to destinations, by whom, in a file that shows whether anybody changed it since.

`chain` (pure) makes and reads the lines; `log` appends to the file; `follow` and `proof` read it again; `principal`
says who we are.
What is to be logged waits in the ledger's table `trail_outbox`, see `record.outbox`.

What must not be here: ledgers and destinations, PatientIDs and paths made of them, secrets.
"""
