"""HTTP and manners: how a source host is spoken to.

1. `auth` knows who we are to the host.
2. `connecting` opens a session to it: timeouts, TLS, proxy. `session` sends one GET, with redirects and one replay
   after a 401; `response` is what comes of it.
3. `verdict` says what a status means here, as an error class; `foreign` maps what aiohttp, ssl and the system raise.
4. `gate` lets requests pass: how many at once (`pace`), how many a second, and not at all while the host asks for
   rest or does not answer (`breaker`).
5. `retry` repeats one call while its error is worth it.
6. `host` ties the above together: the one thing that a source is given.

aiohttp's client stays in `connecting`, `session`, `response` and `foreign`, tenacity in `retry`, google-auth and
azure-identity in `auth`.
Nothing here knows DICOM, a job's meaning, or the ledger.
"""
