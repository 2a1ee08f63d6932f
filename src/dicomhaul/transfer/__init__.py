"""From planned to landed.

    on each route, while the ledger has planned series
      lease some, largest first                                [engine]
      for each, in one of many workers
        from a DICOMweb server                                 [series]
          choose: the whole series, or instance by instance    [plan.split]
          exchange: the source pushes parts into a sink
          hold what came against what is expected
        from a bucket                                          [objects]
          list it, fetch each object that is not there
        tell the recorder: complete, or failed and why;
        or hand it to its next route                           [engine]

The engine imports ports, never an adapter. A job that fails is a value (`SeriesOutcome`); what stops a run (a source
that is down, a destination that is full) is an exception that leaves `Engine.run` after everything in flight was
saved.
"""
