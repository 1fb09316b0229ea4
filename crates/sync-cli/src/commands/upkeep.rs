//! `verify`, `gc` and `retention`: what is stored stays intact, and does not grow for ever.

use std::path::Path;

use http::Method;
use serde_json::json;
use snafu::ensure;
use sync_core::ByteCount;
use sync_engine::Verification;
use sync_store::protocol::{
    AskGc, AskVerify, BranchRetention, Damage, DamageKind, GcReport, Retention, Upkept,
    VerifyReport, routes,
};

use super::Place;
use crate::args::{Gc, RetentionSet, RetentionShow, Verify};
use crate::connect::{Connection, Purpose};
use crate::error::{NoDataSnafu, WhichRetentionSnafu, WrongFlagSnafu};
use crate::progress::Progress;
use crate::terminal::{Paint, Terminal, one_line};
use crate::{Error, Outcome};

/// No body.
const NOTHING: Option<&()> = None;

pub(super) async fn verify(place: &Place<'_>, verify: &Verify) -> Result<Outcome, Error> {
    match (&verify.file, &verify.data) {
        (Some(file), None) => {
            super::bundle::verify(place, file, verify.identity_file.as_deref()).await
        }
        (None, Some(data)) => verify_store(place, data, verify).await,
        (None, None) => verify_workspace(place).await,
        (Some(_), Some(_)) => {
            let (flag, targets) = ("--data", "what is in a store, not in a file");
            WrongFlagSnafu { flag, targets }.fail()
        }
    }
}

async fn verify_workspace(place: &Place<'_>) -> Result<Outcome, Error> {
    let progress = Progress::new(&place.terminal);
    let (session, connection) = place.session(Purpose::Act, progress.listener()).await?;
    session.recover().await?;
    let verified = session.verify().await;
    progress.finish();
    drop(session);
    connection.close().await;
    let verified = verified?;
    let sound = verified.is_sound();
    let state = match (sound, verified.found_damage()) {
        (true, false) => "sound",
        (true, true) => "repaired",
        (false, _) => "damaged",
    };
    place.terminal.value(&json!({
        "operation": "verify",
        "success": sound,
        "result": state,
        "verification": verified,
    }));
    print_verification(&place.terminal, &verified);
    place.terminal.line(state);
    Ok(if sound {
        Outcome::Done
    } else {
        Outcome::Damaged
    })
}

fn print_verification(terminal: &Terminal, verified: &Verification) {
    for path in &verified.unnoticed {
        terminal.line(&format!(
            "changed   {path}: its bytes differ although its size and times do not"
        ));
    }
    let private = &verified.private;
    let mut line = format!("private   {} objects intact", private.objects);
    if private.damaged > 0 {
        line = format!(
            "{line}; {} were damaged: {} fetched again, {} dropped",
            private.damaged, private.repaired, private.forgotten
        );
    }
    terminal.line(&line);
    let mut line = format!("tenant    {}", intact(&verified.tenant));
    if !verified.found.is_empty() {
        line = format!("{line}; {} damaged objects sent again", verified.repaired);
    }
    terminal.line(&line);
    let damaged = &verified.tenant.damaged;
    for damage in damaged {
        print(terminal, damage);
    }
}

fn intact(report: &VerifyReport) -> String {
    format!(
        "{} objects in {} packs, {} read, {} snapshots",
        report.objects,
        report.packs,
        ByteCount(report.bytes),
        report.snapshots
    )
}

fn print(terminal: &Terminal, damage: &Damage) {
    let kind = match damage.kind {
        DamageKind::Snapshot => "snapshot",
        DamageKind::Release => "release",
        DamageKind::Node => "node",
        DamageKind::List => "chunk list",
        DamageKind::Chunk => "chunk",
        DamageKind::Schema => "schema",
    };
    let path = damage.path.as_deref().map(one_line);
    let path = path.map_or(String::new(), |path| format!(" of `{path}`"));
    let snapshot = damage
        .snapshot
        .map_or(String::new(), |id| format!(" in {}", id.short()));
    terminal.line(&format!(
        "{}   {kind} {}{path}{snapshot}: {}",
        terminal.paint(Paint::Red, "damaged"),
        damage.digest.short(),
        one_line(&damage.reason)
    ));
}

async fn verify_store(place: &Place<'_>, data: &Path, verify: &Verify) -> Result<Outcome, Error> {
    let connection = operator(place, data).await?;
    let asked = AskVerify {
        tenant: verify.tenant.as_ref().map(ToString::to_string),
    };
    let path = routes::ADMIN_VERIFY.to_owned();
    let found = connection.remote.slow_json(path, Some(&asked)).await;
    connection.close().await;
    let found: Vec<Upkept<VerifyReport>> = found?;
    let sound = found.iter().all(|tenant| tenant.report.is_sound());
    place.terminal.value(&json!({
        "operation": "verify",
        "success": sound,
        "result": if sound { "sound" } else { "damaged" },
        "tenants": found,
    }));
    for Upkept { tenant, report } in &found {
        let line = format!("{tenant}  {}", intact(report));
        place.terminal.line(&line);
        let damaged = &report.damaged;
        for damage in damaged {
            print(&place.terminal, damage);
        }
        for pack in &report.damaged_packs {
            place.terminal.line(&format!("pack      {pack} is damaged"));
        }
        if !report.is_sound() {
            place.terminal.line(
                "hint: run `sync-cli verify` in a workspace that has the files: it sends them again",
            );
        }
    }
    Ok(if sound {
        Outcome::Done
    } else {
        Outcome::Damaged
    })
}

pub(super) async fn gc(place: &Place<'_>, gc: &Gc) -> Result<Outcome, Error> {
    let done = match &gc.data {
        Some(data) => {
            let connection = operator(place, data).await?;
            let asked = AskGc {
                tenant: gc.tenant.as_ref().map(ToString::to_string),
                grace_seconds: gc.grace.0.as_secs(),
                plan: gc.dry_run,
            };
            let path = routes::ADMIN_GC.to_owned();
            let done = connection.remote.slow_json(path, Some(&asked)).await;
            connection.close().await;
            done?
        }
        None => vec![gc_workspace(place, gc).await?],
    };
    place.terminal.value(&json!({
        "operation": "gc",
        "success": true,
        "dry_run": gc.dry_run,
        "tenants": done,
    }));
    for Upkept { tenant, report } in &done {
        let removed = if gc.dry_run {
            "would remove"
        } else {
            "removed"
        };
        place.terminal.line(&format!(
            "{tenant}  {removed} {} objects, {}; kept {} of {} snapshots; {} wait for their grace to end; {} packs rewritten",
            report.removed,
            ByteCount(report.removed_bytes),
            report.objects,
            report.snapshots,
            report.waiting,
            report.packs_rewritten
        ));
    }
    Ok(Outcome::Done)
}

/// The workspace's own store holds only what can be fetched or made again: there is no grace to wait for.
async fn gc_workspace(place: &Place<'_>, gc: &Gc) -> Result<Upkept<GcReport>, Error> {
    let progress = Progress::new(&place.terminal);
    let purpose = if gc.dry_run {
        Purpose::Plan
    } else {
        Purpose::Look
    };
    let (session, connection) = place.session(purpose, progress.listener()).await?;
    let report = if gc.dry_run {
        session.plan_private_gc().await.map(|plan| plan.report)
    } else {
        session.apply_private_gc().await
    };
    drop(session);
    connection.close().await;
    Ok(Upkept {
        tenant: "workspace".to_owned(),
        report: report?,
    })
}

pub(super) async fn set_retention(place: &Place<'_>, set: &RetentionSet) -> Result<Outcome, Error> {
    let retention = match (set.all, set.last, set.time) {
        (true, None, None) => Retention::All,
        (false, Some(count), None) => Retention::Last(count),
        (false, None, Some(time)) => {
            Retention::For(u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX))
        }
        _ => return WhichRetentionSnafu.fail(),
    };
    let asked = BranchRetention {
        tenant: set.tenant.to_string(),
        branch: set.branch.to_string(),
        retention,
    };
    let connection = operator(place, &set.data).await?;
    let path = routes::ADMIN_RETENTION.to_owned();
    let done = connection
        .remote
        .json(Method::PUT, path, Some(&asked))
        .await;
    connection.close().await;
    print_retention(&place.terminal, "retention set", &done?);
    Ok(Outcome::Done)
}

pub(super) async fn show_retention(
    place: &Place<'_>,
    show: &RetentionShow,
) -> Result<Outcome, Error> {
    let connection = operator(place, &show.data).await?;
    let path = format!(
        "{}?tenant={}&branch={}",
        routes::ADMIN_RETENTION,
        show.tenant,
        show.branch
    );
    let found = connection.remote.json(Method::GET, path, NOTHING).await;
    connection.close().await;
    print_retention(&place.terminal, "retention show", &found?);
    Ok(Outcome::Done)
}

fn print_retention(terminal: &Terminal, operation: &str, kept: &BranchRetention) {
    let text = match kept.retention {
        Retention::All => "every snapshot".to_owned(),
        Retention::Last(count) => format!("the newest {} snapshots", count.max(1)),
        Retention::For(time) => format!("what was its head within {} s", time / 1000),
    };
    terminal.line(&format!("{} {} keeps {text}", kept.tenant, kept.branch));
    terminal.value(&json!({"operation": operation, "success": true, "kept": kept}));
}

async fn operator(place: &Place<'_>, data: &Path) -> Result<Connection, Error> {
    ensure!(data.is_dir(), NoDataSnafu { path: data });
    Connection::operator(data, place.env).await
}
