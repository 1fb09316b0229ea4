//! `conflicts`: rows that a person has to choose.

use serde_json::json;
use sync_engine::rows::OpenConflict;

use super::{Place, rows};
use crate::args::{ConflictsResolve, ConflictsVerb};
use crate::{Error, Outcome};

pub(super) fn run(place: &Place<'_>, verb: &ConflictsVerb) -> Result<Outcome, Error> {
    match verb {
        ConflictsVerb::List(_) => list(place),
        ConflictsVerb::Show(show) => self::show(place, &show.id),
        ConflictsVerb::Resolve(resolve) => self::resolve(place, resolve),
    }
}

fn list(place: &Place<'_>) -> Result<Outcome, Error> {
    let found = sync_engine::rows::conflicts::list(&place.workspace()?)?;
    place
        .terminal
        .value(&json!({"operation": "conflicts list", "success": true, "conflicts": found}));
    if found.is_empty() {
        place.terminal.line("no conflicts");
    }
    for conflict in &found {
        rows::conflict_line(&place.terminal, conflict);
    }
    let open = found.iter().any(|conflict| conflict.resolution.is_none());
    Ok(if open {
        Outcome::Undecided
    } else {
        Outcome::Done
    })
}

fn show(place: &Place<'_>, id: &str) -> Result<Outcome, Error> {
    let found = sync_engine::rows::conflicts::list(&place.workspace()?)?;
    let named: Vec<&OpenConflict> = found
        .iter()
        .filter(|conflict| conflict.id.starts_with(id))
        .collect();
    let [conflict] = named.as_slice() else {
        let error = sync_engine::Error::NoConflict {
            id: id.to_owned(),
            found: named.len(),
        };
        return Err(error.into());
    };
    place
        .terminal
        .value(&json!({"operation": "conflicts show", "success": true, "conflict": conflict}));
    rows::conflict_lines(&place.terminal, conflict);
    Ok(Outcome::Done)
}

fn resolve(place: &Place<'_>, resolve: &ConflictsResolve) -> Result<Outcome, Error> {
    let id = (resolve.id != "all").then_some(resolve.id.as_str());
    let workspace = place.workspace()?;
    let now = crate::env::Env::now();
    let done = sync_engine::rows::conflicts::resolve(&workspace, now, id, resolve.resolution)?;
    place
        .terminal
        .value(&json!({"operation": "conflicts resolve", "success": true, "conflicts": done}));
    for conflict in &done {
        rows::conflict_line(&place.terminal, conflict);
    }
    place
        .terminal
        .line("run `sync-cli sync database`, which does it");
    Ok(Outcome::Done)
}
