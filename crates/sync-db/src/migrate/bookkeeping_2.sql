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
