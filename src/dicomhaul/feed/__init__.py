"""Sources of change: what a server says has changed since it was last asked.

1. `choose` names the feed of a source, by its profile: Azure's change feed (`azure_v2`, `azure_v1`), Orthanc's
   `/changes` (`orthanc`), or a search by study date (`window`), which is no feed and stands in for one.
2. A feed is read from a *position*, in windows: each holds changes and the position that covers them. Whoever applies
   a window records its position with it, so nothing is skipped when a reader dies.
3. `numbers` (pure) knows which entries have been told before, `plan.changes` the last word on each instance.

What changes mean for a destination is not known here, nor how they are recorded. Requests go through the source's host.
"""
