//! `export`, `import`, `inspect` and `verify FILE`: a tenant in a file, and back.

mod incoming;
mod known;
mod outgoing;
mod plain;

use std::path::{Path, PathBuf};

use serde_json::json;
use snafu::ensure;
use sync_bundle::file::Wrap;
use sync_bundle::{
    AskExport, Imported, Incoming, Manifest, Opening, Plan, Summary, import_into_nothing,
};
use sync_core::{ByteCount, Name};
use sync_engine::Remote;
use sync_store::Store;

use self::incoming::BundleFile;
use self::known::{Trust, trust};
use self::outgoing::Destination;
use super::Place;
use crate::args::{Export, Import, Inspect};
use crate::connect::{Connection, Purpose};
use crate::env::Env;
use crate::error::{WriteSnafu, WrongFlagSnafu};
use crate::progress::Progress;
use crate::terminal::{Terminal, moment, one_line};
use crate::{Error, Outcome};

pub(super) async fn export(place: &Place<'_>, asked: Export) -> Result<Outcome, Error> {
    let (flag, targets) = ("--with-history", "an export without --head-only");
    ensure!(
        !(asked.with_history && asked.head_only),
        WrongFlagSnafu { flag, targets }
    );
    if asked.plain {
        return plain::export(place, asked).await;
    }
    let progress = Progress::new(&place.terminal);
    let (remote, connection) = tenant(place, asked.data.as_deref(), asked.tenant).await?;
    let exported = async {
        let since = match &asked.since {
            Some(prefix) => Some(remote.resolve(prefix).await?.id),
            None => None,
        };
        let ask = AskExport {
            branch: asked.branch,
            since,
            head_only: asked.head_only,
            only: asked.only.map(|kind| kind.0),
        };
        let body = remote.export(&ask).await?;
        let wrap = if asked.uncompressed {
            Wrap::Tar
        } else {
            Wrap::Zstd
        };
        let destination = Destination::new(&asked.out, wrap, asked.encrypt_to)?;
        outgoing::write(body, destination, progress.listener()).await
    };
    let exported = exported.await;
    progress.finish();
    drop(remote);
    connection.close().await;
    let (opening, bytes) = exported?;
    let manifest = &opening.manifest;
    let file = one_line(&asked.out.to_string_lossy());
    place.terminal.line(&format!(
        "exported tenant `{}`: {} records, {} in {file}",
        manifest.source.tenant,
        manifest.record_count,
        ByteCount(bytes)
    ));
    print_contents(&place.terminal, &opening);
    place.terminal.value(&json!({
        "operation": "export",
        "success": true,
        "file": asked.out,
        "bytes": bytes,
        "bundle": told(&opening),
        "duration_ms": place.elapsed_ms(),
    }));
    Ok(Outcome::Done)
}

pub(super) async fn inspect(place: &Place<'_>, asked: Inspect) -> Result<Outcome, Error> {
    let bundle = BundleFile::new(asked.file, asked.identity_file.as_deref())?;
    let opening = bundle.opening().await?;
    let manifest = &opening.manifest;
    place.terminal.line(&format!(
        "a bundle of tenant `{}` at {}: {} records, {} in {} members",
        manifest.source.tenant,
        moment(manifest.created_at),
        manifest.record_count,
        ByteCount(manifest.total_bytes()),
        manifest.members.len()
    ));
    print_contents(&place.terminal, &opening);
    place.terminal.value(&json!({
        "operation": "inspect",
        "success": true,
        "bundle": told(&opening),
        "manifest": manifest,
    }));
    Ok(Outcome::Done)
}

/// Checks a file: an import into a store that is removed afterwards.
pub(super) async fn verify(
    place: &Place<'_>,
    file: &Path,
    identity_file: Option<&Path>,
) -> Result<Outcome, Error> {
    let progress = Progress::new(&place.terminal);
    let bundle = BundleFile::new(file.to_owned(), identity_file)?;
    let bundle = bundle.read(progress.listener());
    let scratch = Scratch::new(place.env)?;
    let verified = async {
        let incoming = Incoming::open(bundle.pieces()).await;
        let incoming = incoming.map_err(|error| bundle.explain(error))?;
        let opening = incoming.opening().clone();
        let store = Store::open_dir(&scratch.0).await?;
        let repository = store.create_tenant("verified").await?;
        let summary = import_into_nothing(incoming, &repository).await;
        let summary = summary.map_err(|error| bundle.explain(error))?;
        Ok::<_, Error>((opening, summary))
    };
    let verified = verified.await;
    progress.finish();
    drop(scratch);
    let (opening, summary) = verified?;
    let missing = &opening.manifest.prerequisites;
    place.terminal.line(&format!(
        "sound: {} records of tenant `{}`{}",
        summary.records_inspected,
        opening.manifest.source.tenant,
        if missing.is_empty() {
            ", and nothing is missing"
        } else {
            "; whether something is missing is seen by a tenant that has what it continues"
        }
    ));
    print_contents(&place.terminal, &opening);
    place.terminal.value(&json!({
        "operation": "verify",
        "success": true,
        "result": "sound",
        "complete": missing.is_empty(),
        "bundle": told(&opening),
    }));
    Ok(Outcome::Done)
}

pub(super) async fn import(place: &Place<'_>, asked: Import) -> Result<Outcome, Error> {
    if asked.plain {
        return plain::import(place, asked).await;
    }
    let file = BundleFile::new(asked.file, asked.identity_file.as_deref())?;
    let opening = file.opening().await?;
    let met = match asked.data {
        None => place.workspace()?.keys_met()?,
        Some(_) => Vec::new(),
    };
    let trust = trust(&opening, met, &asked.trust, asked.trust_unsigned)?;
    let progress = Progress::new(&place.terminal);
    let purpose = Purpose::of(asked.dry_run);
    let connected = tenant_for(place, asked.data.as_deref(), asked.tenant, purpose).await?;
    let (remote, connection) = connected;
    let imported = async {
        let parameters = trust.parameters(asked.force_overwrite);
        let plan = remote.plan_import(&parameters, opening.bytes.clone()).await;
        let plan: Plan = plan.map_err(|error| known::explain(&opening, error))?;
        plan.check(asked.force_overwrite)?;
        let bundle = file.read(progress.listener());
        if asked.dry_run {
            let incoming = Incoming::open(bundle.pieces()).await;
            let incoming = incoming.map_err(|error| bundle.explain(error))?;
            let skimmed = incoming.skim().await;
            skimmed.map_err(|error| bundle.explain(error))?;
            return Ok(Imported {
                branches: plan.branches,
                set_aside: Vec::new(),
                summary: Summary::of_dry_run(opening.manifest.record_count),
            });
        }
        let imported = remote.import(&parameters, bundle.body()).await;
        imported.map_err(|error| bundle.explain_refusal(error))
    };
    let imported = imported.await;
    progress.finish();
    drop(remote);
    connection.close().await;
    let done = imported?;
    print_imported(place, &opening, &trust, &done, asked.dry_run);
    Ok(Outcome::Done)
}

fn print_imported(
    place: &Place<'_>,
    opening: &Opening,
    trust: &Trust,
    done: &Imported,
    dry_run: bool,
) {
    place.terminal.line(&format!(
        "a bundle of tenant `{}`, {}",
        opening.manifest.source.tenant,
        trust.words(opening)
    ));
    print_outcome(place, done, dry_run, told(opening));
}

fn print_outcome(place: &Place<'_>, done: &Imported, dry_run: bool, bundle: serde_json::Value) {
    let Imported {
        branches,
        set_aside,
        summary,
    } = done;
    let terminal = &place.terminal;
    let is_unchanged = !dry_run && summary.is_unchanged();
    let result = match (dry_run, is_unchanged) {
        (true, _) => "planned",
        (false, true) => "unchanged",
        (false, false) => "imported",
    };
    for to in branches {
        let from = to.from.map_or("nothing".to_owned(), |from| from.short());
        let moves = match to.from {
            Some(from) if from == to.to => format!("is at {}", to.to.short()),
            _ if dry_run => format!("would move from {from} to {}", to.to.short()),
            _ => format!("moved from {from} to {}", to.to.short()),
        };
        terminal.line(&format!("branch    {} {moves}", to.branch));
    }
    for row in set_aside {
        terminal.line(&format!(
            "row       {} {} could not be stored: {}",
            one_line(&row.table),
            one_line(&row.key),
            one_line(&row.reason)
        ));
    }
    terminal.line(&format!(
        "records   {} inspected: {} inserted, {} there already, {} skipped, {} failed",
        summary.records_inspected,
        summary.records_inserted,
        summary.records_deduplicated,
        summary.records_skipped,
        summary.records_failed
    ));
    let reasons = serde_json::to_value(&summary.refusals_by_reason).unwrap_or_default();
    for (reason, count) in reasons.as_object().into_iter().flatten() {
        terminal.line(&format!("skipped   {count}: {}", reason.replace('_', " ")));
    }
    terminal.line(match result {
        "planned" => "nothing was changed",
        "unchanged" => "the tenant was the same already: nothing changed",
        _ => "imported",
    });
    let mut value = serde_json::to_value(done).unwrap_or_default();
    value["operation"] = "import".into();
    value["success"] = true.into();
    value["dry_run"] = dry_run.into();
    value["result"] = result.into();
    value["bundle"] = bundle;
    value["duration_ms"] = place.elapsed_ms().into();
    terminal.value(&value);
}

/// What programs are told of a bundle.
fn told(opening: &Opening) -> serde_json::Value {
    let Manifest {
        bundle_digest,
        bundle_version,
        created_at,
        heads,
        prerequisites,
        record_count,
        source,
        ..
    } = &opening.manifest;
    json!({
        "bundle_digest": bundle_digest,
        "bundle_version": bundle_version,
        "created_at": created_at,
        "heads": heads,
        "prerequisites": prerequisites,
        "record_count": record_count,
        "tenant": source.tenant,
        "signed_by": opening.signer.as_ref().map(|signer| signer.public_key),
    })
}

fn print_contents(terminal: &Terminal, opening: &Opening) {
    for head in &opening.manifest.heads {
        terminal.line(&format!(
            "branch    {} at {}",
            head.branch,
            head.snapshot.short()
        ));
    }
    for id in &opening.manifest.prerequisites {
        terminal.line(&format!("needs     {id}"));
    }
    terminal.line(&match &opening.signer {
        Some(signer) => format!("signed by {}", signer.public_key),
        None => "not signed".to_owned(),
    });
}

async fn tenant(
    place: &Place<'_>,
    data: Option<&Path>,
    name: Option<Name>,
) -> Result<(Remote, Connection), Error> {
    tenant_for(place, data, name, Purpose::Look).await
}

/// The tenant of a data directory, else that of the workspace.
async fn tenant_for(
    place: &Place<'_>,
    data: Option<&Path>,
    name: Option<Name>,
    purpose: Purpose,
) -> Result<(Remote, Connection), Error> {
    let (connection, tenant) = place.tenant(data, name, purpose).await?;
    let remote = &connection.remote;
    let remote = match data {
        Some(_) => Remote::new(remote.client().clone(), tenant, remote.branch().clone()),
        None => remote.clone(),
    };
    Ok((remote, connection))
}

/// A directory of ours that is removed at the end, whatever the end is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(env: &Env) -> Result<Self, Error> {
        let above = env.var("TMPDIR").filter(|dir| !dir.is_empty());
        let above = PathBuf::from(above.unwrap_or_else(|| "/var/tmp".to_owned()));
        let path = above.join(format!("sync-verify-{:016x}", Env::random()));
        let made = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .create(&path);
        snafu::ResultExt::context(made, WriteSnafu { path: &path })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a directory is left behind");
        }
    }
}
