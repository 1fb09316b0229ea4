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
    let mut said: Vec<Rule> = entries
        .iter()
        .map(|(_, entry)| entry.rule.clone())
        .collect();
    for (index, (at, entry)) in entries.iter().enumerate() {
        let here = [Step::Key("rules"), Step::Item(*at)];
        // Where all roles of an entry got another rule together, it is the entry that changed.
        let mut rule = entry.rule.clone();
        if let Some(other) = successor(&entity, entry, &said) {
            text = edit_rule(path, &text, &here, &rule, &other)?;
            said.push(other.clone());
            rule = other;
        }
        // Roles that a later entry names with the same rule stay there.
        let later = entries[index + 1..].iter().map(|(_, later)| later);
        let later: Vec<&String> = later
            .filter(|later| later.rule == rule)
            .flat_map(|later| &later.roles)
            .collect();
        let roles = take_roles(&mut entity, &rule, &entry.roles, &later);
        // The last entry stays for as long as it says that the entity is included by default.
        let is_last = *at == entries[entries.len() - 1].0;
        if roles.is_empty() && !(is_last && kept == 0 && included && entity.rules.is_empty()) {
            gone.push(*at);
            continue;
        }
        kept += 1;
        if roles != entry.roles {
            let roles = Some(Wanted::List(&roles));
            text = yaml::set(&text, &here, "roles", roles).map_err(failed)?;
        }
        let flag = entry.default_included;
        let is_first = kept == 1;
        if flag.is_some_and(|flag| flag != included) || (flag.is_none() && is_first && included) {
            let flag = Some(Wanted::Flag(included));
            text = yaml::set(&text, &here, "default_included", flag).map_err(failed)?;
        }
    }
    for at in gone.into_iter().rev() {
        text = yaml::remove_item(&text, &RULES, at).map_err(failed)?;
    }
    while let Some(rule) = entity.rules.values().next().cloned() {
        let roles = take_roles(&mut entity, &rule, &[], &[]);
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

/// The rule that an entry has now where no role has the one that it had: that of one of its roles, unless another entry has it.
fn successor(entity: &Entity, entry: &FileEntry, said: &[Rule]) -> Option<Rule> {
    if entity.rules.values().any(|rule| *rule == entry.rule) {
        return None;
    }
    let mut rules = entry.roles.iter().filter_map(|role| entity.rules.get(role));
    rules.find(|rule| !said.contains(rule)).cloned()
}

/// Gives an entry another rule where it stands.
fn edit_rule(
    path: &TreePath,
    text: &str,
    here: &[Step<'_>],
    before: &Rule,
    after: &Rule,
) -> Result<String, Error> {
    let mut text = text.to_owned();
    let mut set = |key: &str, value: Option<Wanted<'_>>| {
        text = yaml::set(&text, here, key, value).map_err(|error| refused(path, error))?;
        Ok::<(), Error>(())
    };
    if before.access != after.access {
        set("access", Some(Wanted::Text(&after.access)))?;
    }
    if before.justification != after.justification {
        let why = after.justification.as_deref();
        set("justification", why.map(Wanted::Text))?;
    }
    Ok(text)
}

/// Takes the roles that have this rule out of the entity: first those that were named, in their order, then the others but
/// for those of later entries.
fn take_roles(
    entity: &mut Entity,
    rule: &Rule,
    named: &[String],
    later: &[&String],
) -> Vec<String> {
    let has = |role: &String| entity.rules.get(role) == Some(rule);
    let mut roles: Vec<String> = named.iter().filter(|role| has(role)).cloned().collect();
    let others = entity.rules.iter().filter(|(_, other)| *other == rule);
    let others = others
        .map(|(role, _)| role)
        .filter(|role| !named.contains(role) && !later.contains(role));
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
    yaml::append(text, &RULES, &fields).map_err(|error| refused(path, error))
}
