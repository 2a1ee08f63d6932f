"""Decisions about a cohort before and between exchanges. Pure: no I/O, no clock, nothing async.

`order` says which series goes next, `split` whether a series is asked for whole or instance by instance, `estimate`
what a plan adds up to and whether the destination can take it.
"""
