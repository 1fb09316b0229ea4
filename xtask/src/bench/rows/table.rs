//! The table: rows of about 0.7 KB with a random text key and jsonb, the same in every run.

use super::database::Database;
use crate::error::Result;

/// The table that is synced.
pub(super) const NAME: &str = "items";

/// With three indexes, as in the survey that the bars come from.
pub(super) const DEFINITION: &str = "CREATE TABLE items (
    key text PRIMARY KEY,
    revision bigint NOT NULL,
    name text NOT NULL,
    body text NOT NULL,
    properties jsonb NOT NULL,
    updated_at timestamptz NOT NULL
);;
CREATE INDEX ON items (revision);;
CREATE INDEX ON items (name)";

/// The columns but for the key, for upserts.
pub(super) const VALUES: [&str; 5] = ["revision", "name", "body", "properties", "updated_at"];

/// What digits become, so that text of digests compresses about as text of people does: with `zstd -3` to between a third and a quarter.
const WORDS: [&str; 16] = [
    "agent ",
    "skill ",
    "context ",
    "of ",
    "the ",
    "prompt ",
    "reviews ",
    "answer ",
    "tool ",
    "and ",
    "schedule ",
    "with ",
    "search ",
    "customer ",
    "a ",
    "report ",
];

/// Makes the table and fills it; `bench.keys` numbers the keys.
pub(super) fn fill(database: &Database, rows: u64) -> Result<()> {
    let words = WORDS.iter().zip('A'..).fold(
        "translate(md5(seed), '0123456789abcdef', 'ABCDEFGHIJKLMNOP')".to_owned(),
        |text, (word, letter)| format!("replace({text}, '{letter}', '{word}')"),
    );
    database.run(&format!(
        "{DEFINITION};;
CREATE SCHEMA bench;;
CREATE FUNCTION bench.words(seed text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT {words} $$;;
CREATE TABLE bench.keys (n int PRIMARY KEY, key text NOT NULL);;
INSERT INTO bench.keys SELECT n, substr(md5('key' || n), 1, 20) FROM generate_series(1, {rows}) n;;
INSERT INTO items SELECT key, 0, 'item ' || n || ' ' || substr(md5('name' || n), 1, 8),
    bench.words('a' || n) || md5('b' || n) || md5('c' || n) || ' ' || bench.words('d' || n),
    jsonb_build_object('owner', substr(md5('owner' || n % 1000), 1, 8), 'size', n::bigint * 7919 % 100003,
        'enabled', n % 3 = 0, 'digest', md5('digest' || n), 'tags', jsonb_build_array('tag' || n % 17, 'tag' || n % 29)),
    timestamptz '2026-01-01Z' + n * interval '1 second'
    FROM bench.keys ORDER BY n;;
VACUUM (ANALYZE) items;;
VACUUM (ANALYZE) bench.keys"
    ))
    .map(drop)
}

/// Changes rows that lie all over the table: half of the text, the revision and the time.
pub(super) fn change(database: &Database, of: u64, count: u64, revision: u64) -> Result<()> {
    let step = (of / count).max(1);
    let first = revision * 7919 % step;
    database
        .run(&format!(
            "UPDATE items SET revision = {revision}, updated_at = clock_timestamp(),
                body = bench.words(key || {revision}) || right(body, 260)
            WHERE key IN (SELECT key FROM bench.keys
                WHERE n IN (SELECT {first} + i * {step} + 1 FROM generate_series(0, {count} - 1) i))"
        ))
        .map(drop)
}

/// Rows and a sum over all that is in them: equal tables have equal ones.
pub(super) fn sum(database: &Database) -> Result<String> {
    database.run(
        "SELECT count(*), sum(hashtextextended((key, revision, name, body, properties, updated_at)::text, 0)) FROM items",
    )
}

/// Writes what is dirty, so that no operation pays for another.
pub(super) fn settle(database: &Database) -> Result<()> {
    database.run("CHECKPOINT").map(drop)
}
