"""`dicomhaul doctor`: asks a server what matters for a download, says it plainly, proposes a profile.

1. `sources` takes one source after the other, each to be examined (`examine`); all of them share one `budget`, from
   which every request and every byte is drawn.
2. `reach` finds the way (name, connection, TLS); `admission` sees who is let in.
3. A DICOMweb server: `search` (which searches there are, `pages`, wildcards, empty answers, counts), `retrieve` (forms
   and framing of an answer, transfer syntax, ranges), `pace` (idle connections, latency, how many at once). A bucket:
   `bucket`. A source with a quota: its usage page, and little more (`metered`).
4. What was observed is judged by pure functions into `finding.Finding`s, and `propose` writes the profile.

Nothing here retries, and nothing repeats what a patient's data says: findings hold UIDs at most.
"""
