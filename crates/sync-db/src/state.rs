//! What the database has written down, as a capture reads it, and whether it can be gone on from.

use deadpool_postgres::{Object, Transaction};
use sync_core::Digest;

use crate::migrate::{is_latest, known_version};
use crate::sql::ask;
use crate::working_copy::{Cursor, Doubt, Epoch, Known};
use crate::{Database, Error};

/// The row of `sync.state`.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) epoch: Epoch,
    pub(crate) cursor: Cursor,
    /// `number:fingerprint` of each table that was tracked then.
    pub(crate) tracked: Vec<String>,
}

/// Where a capture stands.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Where we are now.
    pub(crate) cursor: Cursor,
    /// Whether this is a standby.
    pub(crate) is_standby: bool,
    /// Whether there is a schema `sync`.
    pub(crate) has_bookkeeping: bool,
    /// Whether it has the version of this program.
    pub(crate) is_current: bool,
    /// What was written down.
    pub(crate) state: Option<State>,
}

/// The first question of a transaction: it fixes what all others see.
const HERE: &str = "
SELECT pg_current_snapshot()::text, pg_is_in_recovery(),
    (SELECT oid::text FROM pg_database WHERE datname = current_database()), to_regclass('sync.migration') IS NOT NULL,
    has_function_privilege('pg_catalog.pg_control_system()', 'execute')";

const CLUSTER: &str = "SELECT system_identifier::text FROM pg_control_system()";

const STATE: &str = "
SELECT (SELECT max(version) FROM sync.migration), s.epoch, s.cursor, s.cluster, s.tracked
FROM (VALUES (1)) v LEFT JOIN sync.state s ON true";

/// Whether a transaction has written to a log and not ended. A snapshot does not tell: it lists who was running among those
/// that began before the last one that ended.
const WRITING: &str = "
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        AND c.relnamespace = to_regnamespace('sync'))";

/// Whether transactions are writing to tracked tables. Asked before the cut is made: who is done by then is in the cut.
pub(crate) async fn is_writing(database: &Database, client: &Object) -> Result<bool, Error> {
    let said = database.while_("looking for running transactions");
    let prepared = client.prepare_cached(WRITING).await.map_err(said)?;
    Ok(client.query_one(&prepared, &[]).await.map_err(said)?.get(0))
}

impl Standing {
    pub(crate) async fn read(
        database: &Database,
        transaction: &Transaction<'_>,
    ) -> Result<Self, Error> {
        let said = database.while_("reading the state of the last capture");
        let here = ask(transaction, HERE, &[]).await.map_err(said)?;
        let here = here.first().ok_or(Error::Task)?;
        let (number, may_ask): (String, bool) = (here.get(2), here.get(4));
        // Where the role may not ask, the epoch and the number of the database have to do.
        let cluster = if may_ask {
            ask(transaction, CLUSTER, &[]).await.map_err(said)?
        } else {
            Vec::new()
        };
        let cluster: String = cluster.first().map(|row| row.get(0)).unwrap_or_default();
        let has_bookkeeping = here.get(3);
        let mut is_current = false;
        let state = if has_bookkeeping {
            let rows = ask(transaction, STATE, &[]).await.map_err(said)?;
            let row = rows.first().ok_or(Error::Task)?;
            is_current = is_latest(known_version(row.get(0))?);
            read_state(row)
        } else {
            None
        };
        Ok(Self {
            cursor: Cursor {
                snapshot: here.get(0),
                cluster: format!("{cluster}/{number}"),
            },
            is_standby: here.get(1),
            has_bookkeeping,
            is_current,
            state,
        })
    }

    /// The state that can be gone on from, or why not: `None` where nothing was ever captured.
    pub(crate) fn trusted(&self, known: &[Known]) -> Result<(&State, Known), Option<Doubt>> {
        if self.is_standby {
            return Err(Some(Doubt::Standby));
        }
        let state = match (&self.state, known) {
            (None, []) => return Err(None),
            (None, _) | (Some(_), []) => return Err(Some(Doubt::Unknown)),
            (Some(state), _) => state,
        };
        let Some(known) = known.iter().find(|known| known.epoch == state.epoch) else {
            return Err(Some(Doubt::OtherEpoch));
        };
        if state.cursor.cluster != self.cursor.cluster {
            return Err(Some(Doubt::OtherCluster));
        }
        Ok((state, *known))
    }
}

/// A state that cannot be read is none: everything is read whole then.
fn read_state(row: &tokio_postgres::Row) -> Option<State> {
    let epoch: Option<String> = row.get(1);
    let epoch = epoch?.parse().ok()?;
    let cursor = Cursor {
        snapshot: row.get(2),
        cluster: row.get(3),
    };
    Some(State {
        epoch,
        cursor,
        tracked: row.get(4),
    })
}

/// A digest as the tables of `sync` have it.
pub(crate) fn read_digest(text: &str) -> Option<Digest> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(epoch: Option<u8>, cluster: &str, is_standby: bool) -> Standing {
        let cursor = |cluster: &str| Cursor {
            snapshot: "1:1:".to_owned(),
            cluster: cluster.to_owned(),
        };
        Standing {
            cursor: cursor("here/1"),
            is_standby,
            has_bookkeeping: true,
            is_current: true,
            state: epoch.map(|epoch| State {
                epoch: Epoch([epoch; 16]),
                cursor: cursor(cluster),
                tracked: Vec::new(),
            }),
        }
    }

    #[track_caller]
    fn check(standing: &Standing, known: Option<u8>, expected: Result<(), Option<Doubt>>) {
        let known = known.map(|epoch| Known {
            epoch: Epoch([epoch; 16]),
            root: Digest::of(b"root"),
        });
        assert_eq!(standing.trusted(known.as_slice()).map(drop), expected);
    }

    #[test]
    fn only_the_same_state_is_gone_on_from() {
        check(&standing(Some(1), "here/1", false), Some(1), Ok(()));
        check(&standing(None, "", false), None, Err(None));
        check(
            &standing(None, "", false),
            Some(1),
            Err(Some(Doubt::Unknown)),
        );
        check(
            &standing(Some(1), "here/1", false),
            None,
            Err(Some(Doubt::Unknown)),
        );
        check(
            &standing(Some(1), "here/1", false),
            Some(2),
            Err(Some(Doubt::OtherEpoch)),
        );
        check(
            &standing(Some(1), "here/2", false),
            Some(1),
            Err(Some(Doubt::OtherCluster)),
        );
        check(
            &standing(Some(1), "here/1", true),
            Some(1),
            Err(Some(Doubt::Standby)),
        );
    }
}
