//! `init`: makes a workspace.

use serde_json::json;
use sync_engine::Workspace;

use super::Place;
use crate::args::Init;
use crate::{Error, Outcome};

pub(super) fn run(place: &Place<'_>, init: Init) -> Result<Outcome, Error> {
    let dir = place.dir()?;
    let of_dir = || {
        let whole = std::path::absolute(&dir).unwrap_or_else(|_| dir.clone());
        whole.file_name().map_or_else(
            || "workspace".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    };
    let name = init.name.unwrap_or_else(of_dir);
    let workspace = Workspace::init(&dir, &name, &init.url, &init.tenant)?;
    place.terminal.line(&format!(
        "made workspace `{name}` in {}",
        workspace.root().display()
    ));
    place
        .terminal
        .line("put files into services/, then run `sync-cli push`");
    place.terminal.value(
        &json!({"operation": "init", "success": true, "workspace": workspace.root(), "name": name}),
    );
    Ok(Outcome::Done)
}
