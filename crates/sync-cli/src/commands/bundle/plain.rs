//! `export --plain` and `import --plain`: a head as a directory that anybody can read, by way of a store that is removed
//! afterwards.

use std::path::{Path, PathBuf};

use serde_json::json;
use snafu::{ResultExt, ensure};
use sync_bundle::plain::{self, PlainExtent};
use sync_bundle::{
    AskExport, Beside, Export as Bundle, Imported, Incoming, Plan, Summary, import_into_nothing,
};
use sync_core::Name;
use sync_store::{Advance, Received, Repository, Store};
use sync_transport::Body;

use super::{Scratch, tenant, tenant_for};
use crate::args::{Export, Import};
use crate::commands::Place;
use crate::connect::Purpose;
use crate::env::Env;
use crate::error::{UnfinishedSnafu, WriteSnafu, WrongFlagSnafu};
use crate::terminal::one_line;
use crate::{Error, Outcome};

/// A directory in the making, removed where it is not finished.
struct Making(PathBuf);

impl Drop for Making {
    fn drop(&mut self) {
        if self.0.exists() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A store of nobody's, for as long as the command takes.
async fn scratch(place: &Place<'_>) -> Result<(Scratch, Repository), Error> {
    let scratch = Scratch::new(place.env)?;
    let store = Store::open_dir(&scratch.0).await?;
    let repository = store.create_tenant("plain").await?;
    Ok((scratch, repository))
}

pub(super) async fn export(place: &Place<'_>, asked: Export) -> Result<Outcome, Error> {
    let (flag, targets) = ("--plain", "the head of a branch, as it is, in a directory");
    let is_plain = !asked.uncompressed
        && !asked.with_history
        && asked.since.is_none()
        && asked.only.is_none()
        && asked.encrypt_to.is_empty();
    ensure!(is_plain, WrongFlagSnafu { flag, targets });
    let connected = tenant(place, asked.data.as_deref(), asked.tenant).await?;
    let (remote, connection) = connected;
    let branch = asked.branch.unwrap_or_else(|| match asked.data {
        None => remote.branch().clone(),
        Some(_) => main_branch(),
    });
    let ask = AskExport {
        branch: Some(branch.clone()),
        head_only: true,
        ..AskExport::default()
    };
    let body = remote.export(&ask).await;
    drop(remote);
    let written = match body {
        Ok(body) => write(place, body, branch, &asked.out).await,
        Err(error) => Err(error.into()),
    };
    connection.close().await;
    let (extent, tenant) = written?;
    let directory = one_line(&asked.out.to_string_lossy());
    place.terminal.line(&format!(
        "wrote {} files and {} rows of tenant `{tenant}` into {directory}",
        extent.files, extent.rows
    ));
    place.terminal.value(&json!({
        "operation": "export",
        "success": true,
        "directory": asked.out,
        "files": extent.files,
        "rows": extent.rows,
        "duration_ms": place.elapsed_ms(),
    }));
    Ok(Outcome::Done)
}

async fn write(
    place: &Place<'_>,
    body: Body,
    branch: Name,
    out: &Path,
) -> Result<(PlainExtent, Name), Error> {
    let (_scratch, repository) = scratch(place).await?;
    let incoming = Incoming::open(body.into_stream()).await?;
    let tenant = incoming.opening().manifest.source.tenant.clone();
    import_into_nothing(incoming, &repository).await?;
    let head = repository.head(branch.as_str()).await?;
    let head = head.ok_or(sync_bundle::Error::Empty {
        what: format!("branch `{branch}`"),
    })?;
    let snapshot = repository.snapshot(head).await?;
    let taken = out
        .exists()
        .then(|| std::io::ErrorKind::AlreadyExists.into());
    taken
        .map_or(Ok(()), Err)
        .context(WriteSnafu { path: out })?;
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let making = Making(out.with_file_name(format!(".{name}.{:016x}", Env::random())));
    let (nodes, whose, dir) = (repository.nodes(), tenant.clone(), making.0.clone());
    let writing = move || plain::write(&nodes, (head, &snapshot), &whose, &dir);
    let extent = tokio::task::spawn_blocking(writing).await;
    let extent = extent.context(UnfinishedSnafu)??;
    std::fs::rename(&making.0, out).context(WriteSnafu { path: out })?;
    Ok((extent, tenant))
}

pub(super) async fn import(place: &Place<'_>, asked: Import) -> Result<Outcome, Error> {
    let (flag, targets) = ("--plain", "a directory, which nobody signed or encrypted");
    let is_plain = asked.trust.is_empty() && asked.identity_file.is_none();
    ensure!(is_plain, WrongFlagSnafu { flag, targets });
    let (_scratch, repository) = scratch(place).await?;
    let branch = match asked.data {
        None => place.workspace()?.remote()?.branch,
        Some(_) => main_branch(),
    };
    let extent = read(&repository, asked.file.clone(), &branch).await?;
    let settings = json!({});
    let tokens = Vec::new();
    let beside = Beside { settings, tokens };
    let bundle = Bundle::plan(&repository, AskExport::default(), beside).await?;
    let purpose = Purpose::of(asked.dry_run);
    let connected = tenant_for(place, asked.data.as_deref(), asked.tenant, purpose).await?;
    let (remote, connection) = connected;
    let imported = async {
        let parameters = format!("trust=anybody&force={}", asked.force_overwrite);
        let opening = bundle.opening().to_vec().into();
        let plan: Plan = remote.plan_import(&parameters, opening).await?;
        plan.check(asked.force_overwrite)?;
        if asked.dry_run {
            return Ok(Imported {
                branches: plan.branches,
                set_aside: Vec::new(),
                summary: Summary::of_dry_run(bundle.manifest().record_count),
            });
        }
        let body = Body::stream(bundle.stream());
        Ok::<Imported, Error>(remote.import(&parameters, body).await?)
    };
    let imported = imported.await;
    drop(remote);
    connection.close().await;
    let done = imported?;
    place.terminal.line(&format!(
        "a directory with {} files and {} rows, signed by nobody",
        extent.files, extent.rows
    ));
    super::print_outcome(place, &done, asked.dry_run, json!(null));
    Ok(Outcome::Done)
}

/// Reads a directory, and gives the store a branch with it.
async fn read(repository: &Repository, dir: PathBuf, branch: &Name) -> Result<PlainExtent, Error> {
    let (mut sink, writing) = repository.writer();
    let reading = move || plain::read(&dir, &mut sink);
    let read = tokio::task::spawn_blocking(reading).await;
    let (_, snapshot, extent) = read.context(UnfinishedSnafu)??;
    writing.finish().await?;
    let target = repository.put_snapshot(&snapshot).await?;
    let advance = Advance {
        branch: branch.to_string(),
        expected: None,
        target,
        when: snapshot.time,
    };
    repository.advance(Received::nothing(), advance).await?;
    Ok(extent)
}

/// The branch of a tenant in a data directory that nobody named.
fn main_branch() -> Name {
    "main"
        .parse()
        .unwrap_or_else(|_| unreachable!("a valid name by its spelling"))
}
