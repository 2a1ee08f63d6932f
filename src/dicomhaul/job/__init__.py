"""Jobs as files: a mirror, or a pull, that is described once and run by hand, by the site's scheduler or by the daemon.

`tables` says what may stand in a file, `positions` on which line it stands, `reading` makes a `model.Job` of it, and
`running` runs that once. `schedule` says at which moments it is due; to run it then is the daemon's.
"""
