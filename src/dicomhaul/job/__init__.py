"""Jobs as files: a mirror, or a pull, that is described once and run by hand, by the site's scheduler or by the daemon.

`tables` says what may stand in a file, `positions` on which line it stands, `reading` makes a `model.Job` of it, and
`running` runs that once. When a job is due is the daemon's to know.
"""
