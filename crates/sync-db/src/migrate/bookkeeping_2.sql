-- What a directory and this database last agreed on, item by item: a skill, a page, an entity with its rules.
CREATE TABLE sync.local_item (
    -- Which working copy: two directories beside one database have each their own agreement.
    copy text NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    -- The digest of every synced field.
    digest text NOT NULL,
    -- Where the item is, from the top of the tree.
    path text NOT NULL,
    -- Which version of the row had this digest; null where that cannot be told without reading it.
    mark text,
    PRIMARY KEY (copy, kind, key)
);

-- What was read when all items of a file, or of a skill's directory, were agreed on.
CREATE TABLE sync.local_unit (
    copy text NOT NULL,
    kind text NOT NULL,
    home text NOT NULL,
    stamp text NOT NULL,
    items int NOT NULL,
    PRIMARY KEY (copy, kind, home)
);

-- What of a file is in no column: everything before and after the text that is.
CREATE TABLE sync.local_file (
    kind text NOT NULL,
    path text NOT NULL,
    home text NOT NULL,
    head text NOT NULL,
    -- Null where no part of the file is in a column.
    tail text,
    PRIMARY KEY (kind, path)
);
CREATE INDEX ON sync.local_file (kind, home);

-- Runs of scheduled jobs, and runs that did not take place.
CREATE TABLE sync.job_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL,
    -- When it was to run; null where a person asked for it.
    scheduled_for timestamptz,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    state text NOT NULL CHECK (state IN ('running', 'completed', 'failed', 'interrupted', 'missed')),
    -- How many runs it stands for, where they were missed.
    missed int NOT NULL DEFAULT 0,
    -- Counts by what was synced.
    results jsonb NOT NULL DEFAULT '{}',
    errors jsonb NOT NULL DEFAULT '[]',
    -- Of two that wake up for one run, one does it.
    UNIQUE (job, scheduled_for)
);
CREATE INDEX ON sync.job_run (job, id);
