"""The benchmark: dicomhaul and its peers on the same bytes, in one run.

    make bench                                            # all of it, on a fresh machine
    python -m benchmarks.run --workload a b --quick       # some of it, small, to try things out
    python -m benchmarks.growth                           # does a run's cost grow with the plan?
    python -m benchmarks.wire                             # what taking a body apart costs, on one core
    python -m benchmarks.ramp                             # how soon is the number of requests at once right?
    python -m benchmarks.where --who "dicomhaul, bucket"  # where does the processors' time go? (perf)
    python -m benchmarks.guard                            # what CI asks: many times slower than curl?

`workloads` says what is measured and which bars there are; `data` makes the bytes; `origin_nginx`, `origin_orthanc`
and `relay` serve them; `peers` says how each contender is called; `stages` has each run once; `resume` is a stage of
its own; `measure` takes time, processor and memory; `figures`, `report` and `plot` make of it what is said. No figure
is left out: a row in which a peer is faster is shown like any other.
"""
