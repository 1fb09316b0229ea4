//! Entities into a file of rules, entry by entry.

use sync_core::TreePath;

use super::entries::{FileEntry, Rule, read_entries};
use super::{Entity, named};
use crate::Error;
use crate::fields::refused;
use crate::record::{Key, Record};
use crate::yaml::{self, Step, Wanted};

const RULES: [Step<'_>; 1] = [Step::Key("rules")];

/// The text with what is wanted of each entity; `None` takes it out. Entries that stay keep their place.
pub(super) fn edit(
    path: &TreePath,
    text: &str,
    wanted: &[(Key, Option<Record>)],
) -> Result<String, Error> {
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lead = &text[..text.len() - bare.len()];
    let mut bare = bare.to_owned();
    for (key, record) in wanted {
        let entity = record.as_ref().map(Entity::of).unwrap_or_default();
        bare = edit_entity(path, bare, key, entity)?;
    }
    Ok(format!("{lead}{bare}"))
}

/// Roles of one entity are in one entry as far as access and justification are the same.
fn edit_entity(
    path: &TreePath,
    mut text: String,
    key: &Key,
    mut entity: Entity,
) -> Result<String, Error> {
    let failed = |error| refused(path, error);
    let entries: Vec<(usize, FileEntry)> = read_entries(path, &text)?
        .into_iter()
        .enumerate()
        .filter(|(_, entry)| entry.key == *key)
        .collect();
    let included = entity.default_included.take().unwrap_or(false);
    let mut kept = 0;
    let mut gone = Vec::new();
    for (at, entry) in &entries {
        let roles = take_roles(&mut entity, &entry.rule, &entry.roles);
        // The last entry stays for as long as it says that the entity is included by default.
        let is_last = *at == entries[entries.len() - 1].0;
        if roles.is_empty() && !(is_last && kept == 0 && included && entity.rules.is_empty()) {
            gone.push(*at);
            continue;
        }
        kept += 1;
        let here = [Step::Key("rules"), Step::Item(*at)];
        if roles != entry.roles {
            let roles = Some(Wanted::List(&roles));
            text = yaml::set(&text, &here, "roles", roles).map_err(failed)?;
        }
        let said = entry.default_included;
        let is_first = kept == 1;
        if said.is_some_and(|said| said != included) || (said.is_none() && is_first && included) {
            let flag = Some(Wanted::Flag(included));
            text = yaml::set(&text, &here, "default_included", flag).map_err(failed)?;
        }
    }
    for at in gone.into_iter().rev() {
        text = yaml::remove_item(&text, &RULES, at).map_err(failed)?;
    }
    while let Some(rule) = entity.rules.values().next().cloned() {
        let roles = take_roles(&mut entity, &rule, &[]);
        text = append(path, &text, key, &rule, &roles, included && kept == 0)?;
        kept += 1;
    }
    if kept == 0 && included {
        let rule = Rule {
            access: "allow".to_owned(),
            justification: None,
        };
        text = append(path, &text, key, &rule, &[], true)?;
    }
    Ok(text)
}

/// Takes the roles that have this rule out of the entity: first those that were named, in their order.
fn take_roles(entity: &mut Entity, rule: &Rule, named: &[String]) -> Vec<String> {
    let has = |role: &String| entity.rules.get(role) == Some(rule);
    let mut roles: Vec<String> = named.iter().filter(|role| has(role)).cloned().collect();
    let others = entity.rules.iter().filter(|(_, other)| *other == rule);
    let others = others
        .map(|(role, _)| role)
        .filter(|role| !named.contains(role));
    let others: Vec<String> = others.cloned().collect();
    roles.extend(others);
    for role in &roles {
        entity.rules.remove(role);
    }
    roles
}

fn append(
    path: &TreePath,
    text: &str,
    key: &Key,
    rule: &Rule,
    roles: &[String],
    included: bool,
) -> Result<String, Error> {
    let (kind, id) = named(key);
    let mut fields = vec![
        ("entity_type", Wanted::Text(kind)),
        ("entity_id", Wanted::Text(id)),
        ("access", Wanted::Text(&rule.access)),
    ];
    if included {
        fields.push(("default_included", Wanted::Flag(true)));
    }
    fields.push(("roles", Wanted::List(roles)));
    if let Some(why) = &rule.justification {
        fields.push(("justification", Wanted::Text(why)));
    }
    // A file that says nothing yet gets its list first.
    let node = yaml::parse(text).ok().flatten();
    let has_list = node.is_some_and(|node| node.get("rules").is_some());
    let text = if has_list {
        text.to_owned()
    } else {
        yaml::set(text, &[], "rules", Some(Wanted::List(&[])))
            .map_err(|error| refused(path, error))?
    };
    yaml::append(&text, &RULES, &fields).map_err(|error| refused(path, error))
}
