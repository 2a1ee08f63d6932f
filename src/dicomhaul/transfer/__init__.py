"""From planned to landed.

    while the ledger has planned series
      lease some, largest first                                [engine.feed]
      for each, in one of many workers
        choose: the whole series, or instance by instance      [plan.split]
        exchange: the source pushes parts into a sink          [series]
        hold what came against what is expected                [series.reconcile]
        tell the recorder: complete, or failed and why         [engine]

The engine imports ports, never an adapter. A job that fails is a value (`SeriesOutcome`); what stops a run (a source
that is down, a destination that is full) is an exception that leaves `Engine.run` after everything in flight was
saved.
"""
