"""Runs job files at their times, for those who have nothing else that does: `dicomhaul daemon`.

read the job files                                       [files]
which runs are due, and when to look again: pure         [job.schedule, decide]
what was decided is written down before it is done       [store]
each run is a process of its own, below one that outlives nobody and writes down how it ended     [runner, child]
all of it in a loop that a signal ends cleanly           [supervisor]
how it stands, for those who look after it               [health, http]

A run is written down before it begins, and its end is written by the process that sees it. So a daemon that was killed
at any moment knows, when it starts again, whether the run had ended: none is lost, and none made twice.
"""
