CREATE SCHEMA IF NOT EXISTS sync;
COMMENT ON SCHEMA sync IS 'What sync remembers of this database. No data of yours is in it.';

-- What was captured last: one row.
CREATE TABLE sync.state (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch text NOT NULL,
    root text NOT NULL,
    cursor text NOT NULL,
    cluster text NOT NULL,
    -- `number:fingerprint` of each tracked table at that time.
    tracked text[] NOT NULL
);

-- What was last agreed on with each remote.
CREATE TABLE sync.base (
    remote text PRIMARY KEY,
    snapshot text,
    root text NOT NULL,
    note text NOT NULL
);

-- The tables that have a log: `sync.log_<number>` with the columns of the key and, as "sync.xid", the transaction.
CREATE TABLE sync.tracked (
    number int PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    relation oid NOT NULL UNIQUE,
    name text NOT NULL UNIQUE,
    -- `column type collation` of each column of the key, as it was then.
    key text[] NOT NULL,
    -- The MD5 of what the function of its triggers has to be.
    definition text NOT NULL
);

-- When tracked tables were truncated.
CREATE TABLE sync.truncated (number int NOT NULL, "sync.xid" xid8 NOT NULL);

-- Who waits for changes, a row a listener. While there is none, nothing is notified.
CREATE TABLE sync.watch (pid int PRIMARY KEY);
