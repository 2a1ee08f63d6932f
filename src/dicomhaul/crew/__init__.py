"""Several processes that haul as one run, for when one core of the processor is the limit.

    the parent                                   each hand, a child process
      plan, lease, record, report                  sessions, sources, hauls, sinks, writers
      the one gate, quota, line and credentials    asks for what it needs of them
      of each host

* What crosses is one series on one route (`transfer.engine.Haul`): `Begin` goes to a hand, what its writers have staged
  comes back, then how it ended. All that one process says arrives in the order in which it was said, so a series is
  never complete before its instances are recorded.
* Whatever there is one of stays in the parent, so that hosts, quotas and limits are treated as by one process: `desk`
  answers what `remote` asks, in few bytes and many at a time.
* A hand ends when the parent does, and holds the lock of the destination until then: nobody else can write there
  before it is gone.

What must not be here: what a series needs (`transfer`), how adapters are put together (`build`).
"""
