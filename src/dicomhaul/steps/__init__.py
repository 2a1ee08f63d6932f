"""The steps of a run, each by itself; `run` puts them in their order."""
