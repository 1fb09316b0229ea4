//! `db`: what a database needs to be synced.

use serde_json::json;
use sync_engine::rows::{Database, Hold, Holder};

use super::{Place, rows};
use crate::args::{Db, DbTrack, DbUntrack, DbVerb, DbVerify};
use crate::connect::Purpose;
use crate::progress::Progress;
use crate::terminal::seconds;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, db: Db) -> Result<Outcome, Error> {
    if let DbVerb::Verify(verify) = db.verb {
        return Box::pin(self::verify(place, &verify)).await;
    }
    let database = if db.url_env.is_none() && db.url_file.is_none() {
        rows::database(place)?
    } else {
        rows::open(place, db.url_file.as_deref(), db.url_env.as_deref())?
    };
    match db.verb {
        DbVerb::Migrate(migrate) => self::migrate(place, &database, !migrate.bookkeeping).await,
        DbVerb::Track(track) => self::track(place, &database, track).await,
        DbVerb::Untrack(untrack) => self::untrack(place, &database, untrack).await,
        DbVerb::Status(_) | DbVerb::Verify(_) => self::status(place, &database).await,
    }
}

async fn migrate(place: &Place<'_>, database: &Database, defaults: bool) -> Result<Outcome, Error> {
    let done = database.migrate(defaults).await?;
    place
        .terminal
        .value(&json!({"operation": "db migrate", "success": true, "migrated": done}));
    if done.from == done.to {
        place
            .terminal
            .line(&format!("bookkeeping  version {}, as it was", done.to));
    } else {
        place
            .terminal
            .line(&format!("bookkeeping  version {} → {}", done.from, done.to));
    }
    for table in &done.created {
        place.terminal.line(&format!("created      {table}"));
    }
    Ok(Outcome::Done)
}

async fn track(place: &Place<'_>, database: &Database, track: DbTrack) -> Result<Outcome, Error> {
    let configured = match place.workspace() {
        Ok(workspace) => workspace.config().database.tables(),
        Err(_) => sync_engine::rows::default_tables(),
    };
    let wanted = if track.tables.is_empty() {
        configured
    } else {
        let spec = |name: &sync_core::rows::TableName| {
            let known = configured.iter().find(|spec| spec.name == *name).cloned();
            known.unwrap_or_else(|| sync_engine::rows::TableSpec::new(name.clone()))
        };
        track.tables.iter().map(spec).collect()
    };
    for spec in &wanted {
        database.track(spec).await?;
        place.terminal.line(&format!("tracked    {}", spec.name));
    }
    let names: Vec<String> = wanted.iter().map(|spec| spec.name.to_string()).collect();
    place
        .terminal
        .value(&json!({"operation": "db track", "success": true, "tables": names}));
    Ok(Outcome::Done)
}

async fn untrack(
    place: &Place<'_>,
    database: &Database,
    untrack: DbUntrack,
) -> Result<Outcome, Error> {
    let mut done = Vec::new();
    for name in &untrack.tables {
        let was = database.untrack(name).await?;
        let said = if was { "untracked " } else { "not tracked" };
        place.terminal.line(&format!("{said} {name}"));
        done.push(json!({"table": name, "was_tracked": was}));
    }
    place
        .terminal
        .value(&json!({"operation": "db untrack", "success": true, "tables": done}));
    Ok(Outcome::Done)
}

async fn status(place: &Place<'_>, database: &Database) -> Result<Outcome, Error> {
    let (tracked, health) = (database.tracked().await?, database.health().await?);
    let terminal = &place.terminal;
    terminal.value(&json!({
        "operation": "db status",
        "success": true,
        "at": database.at(),
        "tracked": tracked,
        "health": health,
    }));
    terminal.line(&format!("database   {}", database.at()));
    for agreed in &health.agreed {
        let snapshot = agreed.snapshot.as_deref().unwrap_or("nothing yet");
        terminal.line(&format!("agreed     {snapshot} with {}", agreed.remote));
    }
    if tracked.is_empty() {
        terminal.line(
            "nothing is tracked: every sync reads all rows; `sync-cli db track` changes that",
        );
    }
    for table in &tracked {
        let state = if table.is_intact {
            "tracked"
        } else {
            "broken: run `sync-cli db track` again"
        };
        terminal.line(&format!(
            "{:<24} {state}, {} changes to be read",
            table.name, table.keys
        ));
    }
    health
        .holders
        .iter()
        .for_each(|holder| terminal.line(&holder_line(holder)));
    if health.listeners > 0 {
        terminal.line(&format!("listeners  {}", health.listeners));
    }
    Ok(Outcome::Done)
}

/// Who holds the database, and what that means.
fn holder_line(holder: &Holder) -> String {
    let user = holder.user.as_deref().unwrap_or("somebody");
    let application = match holder.application.as_deref() {
        None | Some("") => String::new(),
        Some(application) => format!(" ({application})"),
    };
    let time = holder.running_ms.map(|ms| format!(" for {}", seconds(ms)));
    let time = time.unwrap_or_default();
    let tables = holder.tables.join(", ");
    let what = match holder.holds {
        Hold::Changes => {
            format!("has uncommitted changes in {tables}: the next sync after its commit has them")
        }
        Hold::Locks => format!("has locked {tables}: a sync that changes it waits"),
        Hold::Sync => "is another sync".to_owned(),
    };
    format!(
        "held       {user}{application}, process {}{time}: {what}",
        holder.pid
    )
}

/// Compares both sides by their roots.
async fn verify(place: &Place<'_>, verify: &DbVerify) -> Result<Outcome, Error> {
    let database = rows::database(place)?;
    let progress = Progress::new(&place.terminal);
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let found = async {
        let rows = session.rows(database).await?;
        rows.verify(verify.read).await
    };
    let found = Box::pin(found).await;
    progress.finish();
    drop(session);
    connection.close().await;
    let found = found?;
    let equal = found.is_equal();
    place
        .terminal
        .value(&json!({"operation": "db verify", "success": true, "equal": equal, "roots": found}));
    place.terminal.line(&format!("here      {}", found.here));
    if let Some(read) = found.read {
        place.terminal.line(&format!("read      {read}"));
    }
    place.terminal.line(&format!("tenant    {}", found.tenant));
    place.terminal.line(if found.is_intact() {
        if equal {
            "equal"
        } else {
            "different: `sync-cli status database` says what"
        }
    } else {
        "damaged: what is in the database is not what its change logs say"
    });
    Ok(match (found.is_intact(), equal) {
        (false, _) => Outcome::Damaged,
        (true, true) => Outcome::Done,
        (true, false) => Outcome::Different,
    })
}
