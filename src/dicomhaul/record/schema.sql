-- The ledger: what a destination is to hold, and what it is proven to hold. docs/design.md, "The ledger".
-- States: 0 PLANNED, 1 LANDED, 2 FAILED (model.State; the moves between them: record/states.py).

CREATE TABLE meta (              -- 'layout', 'name_by', 'dest_id', 'ledger_id', 'index' (stale or written), 'united:...',
                                 -- 'cohort:...' (record/asked.py), 'merged' (merging.py)
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE cohort (            -- one row for each distinct thing that was asked for here
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,   -- query, index version, source, layout: the same again skips planning
    query       TEXT NOT NULL,          -- model.Query as JSON, for `resume`
    source      TEXT NOT NULL,          -- SOURCE without credentials; several with commas between
    profile     TEXT,                   -- --profile likewise; NULL: the source says it itself
    planned_at  TEXT NOT NULL,
    missing     TEXT NOT NULL           -- what was named and nobody has: JSON list of [study, series, sop, reason]
);

CREATE TABLE route (             -- the distinct choices of routes, see plan/route.py
    id     INTEGER PRIMARY KEY,
    first  TEXT NOT NULL,               -- where it is asked for first; '': nobody chosen can give it
    names  TEXT NOT NULL,               -- JSON list of sources' names, in the order in which they are tried
    reason TEXT NOT NULL,
    UNIQUE (names, reason)
);

CREATE TABLE series (
    id         INTEGER PRIMARY KEY,
    study      TEXT NOT NULL,
    series     TEXT NOT NULL,
    collection TEXT,
    patient    TEXT,
    modality   TEXT,
    license    TEXT,
    bucket     TEXT,
    revision   TEXT,
    prior      INTEGER NOT NULL DEFAULT 0,  -- 1: a revision that the present release replaced
    folder     TEXT NOT NULL,           -- relative to the destination; a file is folder/<SOP Instance UID>.dcm
    expected   INTEGER,                 -- instances of the whole series, where somebody states it
    size_bytes INTEGER,                 -- likewise
    whole      INTEGER NOT NULL,        -- 1: all instances are wanted; 0: those with a row in `instance`
    cut        INTEGER NOT NULL DEFAULT 0,  -- 1: ask for its inventory before anything else
    route      INTEGER NOT NULL REFERENCES route (id),
    weight     INTEGER NOT NULL,        -- what orders the work: expected bytes, or a guess
    state      INTEGER NOT NULL DEFAULT 0,
    proof      TEXT,                    -- model.Proof, once LANDED
    reason     TEXT,                    -- why FAILED
    came_by    TEXT,                    -- the route that completed it
    kept       INTEGER NOT NULL DEFAULT 0   -- 1: no cohort wants it any more, and what is there of it stays
);
-- Built after a bulk load: CREATE UNIQUE INDEX series_uid ON series (series, study);
--                          CREATE INDEX series_todo ON series (route, weight) WHERE state = 0;
--                          CREATE INDEX series_failed ON series (id) WHERE state = 2;
--                          CREATE INDEX series_kept ON series (id) WHERE kept;

CREATE TABLE member (            -- which cohort wants which series, and how many instances of it
    cohort_id INTEGER NOT NULL REFERENCES cohort (id),
    series_id INTEGER NOT NULL REFERENCES series (id),
    expected  INTEGER,
    PRIMARY KEY (cohort_id, series_id)
) WITHOUT ROWID;

CREATE TABLE instance (          -- LANDED: a file is there. PLANNED or FAILED: known to be wanted, not there
    series_id  INTEGER NOT NULL REFERENCES series (id),
    sop        TEXT NOT NULL,
    size_bytes INTEGER,
    xxh3       BLOB,                    -- XXH3-128, 16 bytes big endian
    state      INTEGER NOT NULL,
    reason     TEXT,
    checked    INTEGER NOT NULL DEFAULT 0,  -- model.Check: what its bytes were held against
    stem       BLOB,                    -- of the object that it came from, see record/keys.py
    PRIMARY KEY (series_id, sop)
) WITHOUT ROWID;

CREATE TABLE partial (           -- large objects whose beginning lies in staging
    series_id INTEGER NOT NULL,
    stem      TEXT NOT NULL,
    etag      TEXT NOT NULL,
    name      TEXT NOT NULL,            -- of the file in staging
    offset    INTEGER NOT NULL,         -- bytes that are written and synced
    xxh3      BLOB NOT NULL,            -- of these bytes
    PRIMARY KEY (series_id, stem)
) WITHOUT ROWID;

CREATE TABLE quota_day (         -- bytes that a source with a quota gave us
    source TEXT NOT NULL,
    day    TEXT NOT NULL,               -- YYYY-MM-DD, UTC
    bytes  INTEGER NOT NULL,
    PRIMARY KEY (source, day)
) WITHOUT ROWID;

CREATE TABLE intent (            -- batches about to be renamed from staging; each a JSON list, see record/recovery.py
    id    INTEGER PRIMARY KEY,
    batch TEXT NOT NULL
);

CREATE TABLE run (
    id         INTEGER PRIMARY KEY,
    command    TEXT NOT NULL,           -- pull, resume, sync
    started_at TEXT NOT NULL,
    ended_at   TEXT,
    state      TEXT,                    -- complete, partial, paused, interrupted, failed; NULL: was killed
    tally      TEXT                     -- JSON
);

CREATE TABLE swap (              -- series that land, or lie, somewhere else until they take their place
    series_id INTEGER PRIMARY KEY REFERENCES series (id),
    folder    TEXT NOT NULL,            -- where it belongs; until then series.folder is the other one
    inode     INTEGER                   -- of that other one, once it is about to take its place: tells whether it has
);

CREATE TABLE outgoing (          -- files that leave the tree for the trash: withdrawn, or of a revision that is replaced
    id         INTEGER PRIMARY KEY,
    after      INTEGER REFERENCES series (id),  -- only when this series' new revision is complete; NULL: as soon as may be
    agreed     INTEGER NOT NULL DEFAULT 1,      -- 0: how much a sync may remove is still to be held against it
    study      TEXT NOT NULL,
    series     TEXT NOT NULL,
    revision   TEXT,
    sop        TEXT NOT NULL,
    folder     TEXT NOT NULL,           -- of the tree, where it belonged
    lies       TEXT,                    -- the folder of ours in which it lies since another took its place; NULL: in `folder`
    file       TEXT NOT NULL,
    size_bytes INTEGER,
    xxh3       BLOB,
    checked    INTEGER NOT NULL,        -- as `instance` has it, like the next one
    stem       BLOB,
    reason     TEXT NOT NULL
);
CREATE INDEX outgoing_after ON outgoing (after);
CREATE INDEX outgoing_series ON outgoing (series, study);

CREATE TABLE cursor (            -- how far each source of change has been followed
    feed     TEXT PRIMARY KEY,          -- the kind of feed and whom it is of
    position TEXT NOT NULL,             -- JSON; what it covers is recorded
    moved_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE version (           -- of instances that a feed told of: which of its entries was the last to count
    series_id INTEGER NOT NULL REFERENCES series (id),
    sop       TEXT NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (series_id, sop)
) WITHOUT ROWID;

CREATE TABLE sample (            -- how a run went on, for its report: a bounded number of rows a run
    run_id    INTEGER NOT NULL REFERENCES run (id),
    at_s      REAL NOT NULL,            -- since the run began
    instances INTEGER NOT NULL,         -- landed since the run began
    bytes     INTEGER NOT NULL,         -- likewise
    PRIMARY KEY (run_id, at_s)
) WITHOUT ROWID;

CREATE TABLE trail_outbox (      -- what the audit log is still to be told, see trail/
    number INTEGER PRIMARY KEY,
    entry  TEXT NOT NULL                -- JSON
);
