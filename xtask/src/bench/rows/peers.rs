//! What people do today between two databases.

use std::{fs, path::Path, process::Command};

use snafu::{ResultExt as _, ensure};

use super::{database::Database, table};
use crate::{
    bench::meter::{Sample, measure},
    error::{IoSnafu, Result, UnexpectedSnafu},
};

/// `COPY` in binary through a pipe into a temporary table, then one upsert that leaves equal rows alone.
pub(super) fn copy(from: &Database, to: &Database) -> Result<Sample> {
    let set = table::VALUES.map(|column| format!("{column} = excluded.{column}"));
    let all = table::VALUES.join(", ");
    let excluded = table::VALUES.map(|column| format!("excluded.{column}"));
    let current = table::VALUES.map(|column| format!("items.{column}"));
    let upsert = format!(
        "INSERT INTO items (key, {all}) SELECT key, {all} FROM incoming ON CONFLICT (key) DO UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})",
        set.join(", "),
        current.join(", "),
        excluded.join(", ")
    );
    piped(
        from,
        to,
        "psql -Xq -c 'COPY items TO STDOUT (FORMAT binary)' | PGDATABASE=$TO psql -Xq -v ON_ERROR_STOP=1 --single-transaction \
            -c 'CREATE TEMPORARY TABLE incoming (LIKE items)' -c 'COPY incoming FROM STDIN (FORMAT binary)' -c \"$UPSERT\"",
        &[("UPSERT", &upsert)],
    )
}

/// `pg_dump --data-only` into `psql`.
pub(super) fn dump(from: &Database, to: &Database) -> Result<Sample> {
    piped(
        from,
        to,
        "pg_dump --data-only --table=items | PGDATABASE=$TO psql -Xq -v ON_ERROR_STOP=1 -o /dev/null",
        &[],
    )
}

/// An upsert a row, each its own transaction; only so many rows, for it takes minutes.
pub(super) fn row_by_row(
    from: &Database,
    to: &Database,
    rows: u64,
    directory: &Path,
) -> Result<Sample> {
    let script = directory.join("upserts.sql");
    let set = table::VALUES.map(|column| format!("{column} = excluded.{column}"));
    let (columns, set) = (table::VALUES.join(", "), set.join(", "));
    let text = from.run(&format!(
        "SELECT format('INSERT INTO items (key, {columns}) VALUES (%L, %L, %L, %L, %L, %L) ON CONFLICT (key) DO UPDATE SET {set};',
            key, {columns}) FROM items JOIN bench.keys USING (key) WHERE n <= {rows} ORDER BY n"
    ))?;
    fs::write(&script, text).context(IoSnafu {
        action: format!("write `{}`", script.display()),
    })?;
    let script_path = script.display().to_string();
    let sample = piped(
        from,
        to,
        "PGDATABASE=$TO psql -Xq -v ON_ERROR_STOP=1 -f \"$SCRIPT\"",
        &[("SCRIPT", &script_path)],
    )?;
    let there = to.number("SELECT count(*) FROM items")?;
    ensure!(
        there == rows,
        UnexpectedSnafu {
            what: format!("{there} of {rows} rows arrived one by one")
        }
    );
    Ok(sample)
}

/// Only reading a table in the order of its key, as binary; what every comparison of untracked tables has to do at least.
pub(super) fn read(from: &Database) -> Result<Sample> {
    piped(
        from,
        from,
        "psql -Xq -c 'COPY (SELECT * FROM items ORDER BY key) TO STDOUT (FORMAT binary)' >/dev/null",
        &[],
    )
}

/// A pipe that fails as a whole where one of its programs does.
fn piped(from: &Database, to: &Database, pipe: &str, variables: &[(&str, &str)]) -> Result<Sample> {
    let mut command: Command = from.program("bash");
    command
        .args(["-c", &format!("set -o pipefail; {pipe}")])
        .env("TO", to.name())
        .envs(variables.iter().copied());
    measure(&command, None, None).map(|(sample, _)| sample)
}
