//! The tools: what they take, and which command each call is.

use std::sync::Arc;

use rmcp::model::{JsonObject, ToolAnnotations};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde_json::{Value, json};
use snafu::ResultExt;
use sync_engine::MaxDelete;

use crate::Error;
use crate::args::{
    Aim, Conflicts, ConflictsList, ConflictsShow, ConflictsVerb, Diff, Log, Pull, Push, Status,
    Verb,
};
use crate::error::ArgumentsSnafu;

/// What an agent can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Sync,
    Status,
    Diff,
    Log,
    Conflicts,
}

/// What a call comes down to.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) needs: Needs,
    /// Whether it changes something.
    pub(super) writes: bool,
}

/// What a call has to itself while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// The workspace's private store, which one run at a time can have open.
    Store,
    /// No more than the tenant; the private store where it is to be had.
    Tenant,
    /// Files that are read at once.
    Nothing,
}

/// The most snapshots that `log` gives.
const LOGGED: usize = 1000;

/// How many it gives unasked.
const USUALLY_LOGGED: usize = 20;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SyncArguments {
    #[serde(deserialize_with = "aim")]
    target: Aim,
    direction: Direction,
    #[serde(default = "only_shown")]
    dry_run: bool,
    filter: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Push,
    Pull,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusArguments {
    #[serde(default = "everything", deserialize_with = "aim")]
    target: Aim,
    filter: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DiffArguments {
    #[serde(default = "everything", deserialize_with = "aim")]
    target: Aim,
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    stat: bool,
    filter: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LogArguments {
    #[serde(default = "usually_logged")]
    limit: usize,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ConflictsArguments {
    id: Option<String>,
}

/// Nothing is changed unless it was asked for in so many words.
const fn only_shown() -> bool {
    true
}

const fn everything() -> Aim {
    Aim::All
}

const fn usually_logged() -> usize {
    USUALLY_LOGGED
}

fn aim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Aim, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|expected: String| D::Error::custom(format!("target: {expected}")))
}

impl Tool {
    /// Each, the one that changes something first.
    pub(super) const ALL: [Self; 5] = [
        Self::Sync,
        Self::Status,
        Self::Diff,
        Self::Log,
        Self::Conflicts,
    ];

    /// The tool as clients name it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Status => "status",
            Self::Diff => "diff",
            Self::Log => "log",
            Self::Conflicts => "conflicts",
        }
    }

    /// The tool of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.as_str() == name)
    }

    /// The tool as a client lists it; with `read_only` it changes nothing.
    pub(super) fn described(self, read_only: bool) -> rmcp::model::Tool {
        let only_reads = read_only || self != Self::Sync;
        let annotations = ToolAnnotations::from_raw(
            Some(self.title().to_owned()),
            Some(only_reads),
            Some(!only_reads),
            // What was synced once is in sync.
            Some(true),
            Some(false),
        );
        rmcp::model::Tool::new(self.as_str(), self.description(), object(self.schema()))
            .with_raw_output_schema(object(result_schema()))
            .with_annotations(annotations)
    }

    /// What is to be run with these arguments.
    ///
    /// # Errors
    ///
    /// Where they are not what the schema says.
    pub(super) fn call(self, arguments: JsonObject) -> Result<Call, Error> {
        match self {
            Self::Sync => self.read(arguments).map(sync),
            Self::Status => self.read(arguments).map(status),
            Self::Diff => {
                let given: DiffArguments = self.read(arguments)?;
                if given.from.is_none() && given.to.is_some() {
                    let error = serde_json::Error::custom("`to` needs a `from`");
                    return Err(error).context(self.wrong());
                }
                Ok(diff(given))
            }
            Self::Log => {
                let given: LogArguments = self.read(arguments)?;
                if !(1..=LOGGED).contains(&given.limit) {
                    let text = format!("limit: expected 1 to {LOGGED}");
                    return Err(serde_json::Error::custom(text)).context(self.wrong());
                }
                let log = Log { limit: given.limit };
                Ok(Call::reading(Verb::Log(log), Needs::Tenant))
            }
            Self::Conflicts => self.read(arguments).map(conflicts),
        }
    }

    fn read<T: DeserializeOwned>(self, arguments: JsonObject) -> Result<T, Error> {
        serde_json::from_value(Value::Object(arguments)).context(self.wrong())
    }

    const fn wrong(self) -> ArgumentsSnafu<&'static str> {
        ArgumentsSnafu {
            tool: self.as_str(),
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Sync => "Push or pull a workspace",
            Self::Status => "Where workspace and tenant stand",
            Self::Diff => "What differs",
            Self::Log => "The history",
            Self::Conflicts => "What a person has to choose",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Sync => {
                "Brings one side to the other. files, database and all are between the workspace and its tenant; content, skills and \
                 access-control are between files on disk and rows of the local database, where push is disk to database. Without \
                 `dry_run: false` it only shows what it would do. Nothing that both sides changed is overwritten, and nothing is \
                 removed in bulk: such calls end as errors, and a person has to choose. `filter` is a pattern in git's syntax for \
                 paths; it cannot be used with database."
            }
            Self::Status => {
                "Says where each target stands: in_sync, local_ahead, cloud_ahead or diverged (disk_ahead and database_ahead for \
                 content, skills and access-control), with counts."
            }
            Self::Diff => {
                "Shows what differs, by default between the last synced state and the workspace. `from` and `to` are snapshots by at \
                 least 4 digits of their ids; with `from` alone it is compared with the workspace. `stat` leaves the lines out."
            }
            Self::Log => "Lists the snapshots of the tenant's branch, newest first.",
            Self::Conflicts => {
                "Lists the rows that both sides changed and a person has to choose; with `id` shows both versions of one, column by \
                 column. Conflicts of files are in the result of `sync`."
            }
        }
    }

    fn schema(self) -> Value {
        let target = json!({
            "type": "string",
            "enum": ["files", "database", "content", "skills", "access-control", "all"],
        });
        let with_default = |default: &str| {
            let mut target = target.clone();
            target["default"] = default.into();
            target
        };
        let (properties, required) = match self {
            Self::Sync => (
                json!({
                    "target": target,
                    "direction": {"type": "string", "enum": ["push", "pull"]},
                    "dry_run": {"type": "boolean", "default": true},
                    "filter": {"type": "string"},
                }),
                json!(["target", "direction"]),
            ),
            Self::Status => (
                json!({"target": with_default("all"), "filter": {"type": "string"}}),
                json!([]),
            ),
            Self::Diff => (
                json!({
                    "target": with_default("all"),
                    "from": {"type": "string"},
                    "to": {"type": "string"},
                    "stat": {"type": "boolean", "default": false},
                    "filter": {"type": "string"},
                }),
                json!([]),
            ),
            Self::Log => (
                json!({"limit": {
                    "type": "integer", "minimum": 1, "maximum": LOGGED, "default": USUALLY_LOGGED,
                }}),
                json!([]),
            ),
            Self::Conflicts => (json!({"id": {"type": "string"}}), json!([])),
        };
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }
}

/// What every result has, as `--output json` prints it.
fn result_schema() -> Value {
    json!({
        "type": "object",
        "properties": {"operation": {"type": "string"}, "success": {"type": "boolean"}},
        "required": ["operation", "success"],
    })
}

fn object(value: Value) -> Arc<JsonObject> {
    match value {
        Value::Object(object) => Arc::new(object),
        _ => Arc::default(),
    }
}

impl Call {
    const fn reading(verb: Verb, needs: Needs) -> Self {
        Self {
            verb,
            needs,
            writes: false,
        }
    }
}

fn sync(given: SyncArguments) -> Call {
    let (targets, filter) = (vec![given.target], given.filter.into_iter().collect());
    let verb = match given.direction {
        Direction::Push => Verb::Push(Push {
            targets,
            dry_run: given.dry_run,
            filter,
            max_delete: MaxDelete::default(),
            yes: false,
            delete: false,
            on_conflict: None,
            keep_going: false,
            message: None,
        }),
        Direction::Pull => Verb::Pull(Pull {
            targets,
            dry_run: given.dry_run,
            filter,
            max_delete: MaxDelete::default(),
            yes: false,
            delete: false,
            on_conflict: None,
            keep_going: false,
        }),
    };
    Call {
        verb,
        needs: Needs::Store,
        writes: !given.dry_run,
    }
}

fn status(given: StatusArguments) -> Call {
    let verb = Verb::Status(Status {
        targets: vec![given.target],
        filter: given.filter.into_iter().collect(),
        exit_code: false,
    });
    Call::reading(verb, Needs::Tenant)
}

fn diff(given: DiffArguments) -> Call {
    let sides = given.from.into_iter().chain(given.to);
    let verb = Verb::Diff(Diff {
        snapshots: sides.chain([given.target.as_str().to_owned()]).collect(),
        filter: given.filter.into_iter().collect(),
        stat: given.stat,
        exit_code: false,
    });
    Call::reading(verb, Needs::Store)
}

fn conflicts(given: ConflictsArguments) -> Call {
    let verb = match given.id {
        None => ConflictsVerb::List(ConflictsList {}),
        Some(id) => ConflictsVerb::Show(ConflictsShow { id }),
    };
    Call::reading(Verb::Conflicts(Conflicts { verb }), Needs::Nothing)
}

#[cfg(test)]
mod tests {
    use sync_core::Fault;

    use super::*;

    fn call(tool: Tool, arguments: &Value) -> Result<Call, Error> {
        tool.call(Arc::unwrap_or_clone(object(arguments.clone())))
    }

    #[track_caller]
    fn check(tool: Tool, arguments: &Value, expected: &str) {
        let seen = match call(tool, arguments) {
            Ok(call) => format!("{} {:?} {}", call.verb.as_str(), call.needs, call.writes),
            Err(error) => error.code().to_owned(),
        };
        assert_eq!(seen, expected, "{arguments}");
    }

    #[test]
    fn arguments_become_commands() {
        for target in [
            "files",
            "database",
            "content",
            "skills",
            "access-control",
            "all",
        ] {
            for direction in ["push", "pull"] {
                let dry = json!({"target": target, "direction": direction});
                check(
                    Tool::Sync,
                    &dry,
                    &format!("{direction} {target} Store false"),
                );
                let real = json!({"target": target, "direction": direction, "dry_run": false});
                check(
                    Tool::Sync,
                    &real,
                    &format!("{direction} {target} Store true"),
                );
            }
            let looked = json!({"target": target, "filter": "a/"});
            check(
                Tool::Status,
                &looked,
                &format!("status {target} Tenant false"),
            );
        }
        check(Tool::Status, &json!({}), "status all Tenant false");
        check(Tool::Diff, &json!({}), "diff Store false");
        check(
            Tool::Diff,
            &json!({"from": "7f3a", "to": "9b1e", "stat": true, "target": "files"}),
            "diff Store false",
        );
        check(Tool::Log, &json!({"limit": 3}), "log Tenant false");
        check(
            Tool::Conflicts,
            &json!({"id": "7f3a"}),
            "conflicts Nothing false",
        );
    }

    #[test]
    fn what_is_not_asked_for_is_not_done() {
        let arguments = json!({"target": "files", "direction": "push", "filter": "*.md"});
        let Ok(Call {
            verb: Verb::Push(push),
            ..
        }) = call(Tool::Sync, &arguments)
        else {
            panic!("no push");
        };
        assert!(push.dry_run && !push.yes && !push.delete && !push.keep_going);
        assert_eq!(push.filter, ["*.md"]);
    }

    #[test]
    fn wrong_arguments() {
        for (tool, arguments) in [
            (Tool::Sync, json!({})),
            (Tool::Sync, json!({"target": "files"})),
            (Tool::Sync, json!({"direction": "push"})),
            (Tool::Sync, json!({"target": "files", "direction": "both"})),
            (
                Tool::Sync,
                json!({"target": "everything", "direction": "push"}),
            ),
            (
                Tool::Sync,
                json!({"target": "files", "direction": "push", "dry_run": "false"}),
            ),
            (
                Tool::Sync,
                json!({"target": "files", "direction": "push", "dry_run": null}),
            ),
            (
                Tool::Sync,
                json!({"target": "files", "direction": "push", "yes": true}),
            ),
            (
                Tool::Sync,
                json!({"target": "files", "direction": "push", "filter": ["a"]}),
            ),
            (Tool::Status, json!({"exit_code": true})),
            (Tool::Diff, json!({"to": "9b1e"})),
            (Tool::Log, json!({"limit": 0})),
            (Tool::Log, json!({"limit": 1001})),
            (Tool::Log, json!({"limit": -1})),
            (Tool::Conflicts, json!({"id": 7})),
        ] {
            check(tool, &arguments, "cli/arguments");
        }
    }

    #[test]
    fn schemas_have_what_is_read() {
        for tool in Tool::ALL {
            let schema = tool.schema();
            let required = schema["required"].as_array().unwrap();
            let properties = schema["properties"].as_object().unwrap();
            let mut arguments = JsonObject::new();
            for (name, property) in properties {
                let value = match (property["enum"][0].clone(), property["type"].as_str()) {
                    (Value::Null, Some("boolean")) => json!(true),
                    (Value::Null, Some("integer")) => json!(1),
                    (Value::Null, _) => json!("7f3a"),
                    (first, _) => first,
                };
                arguments.insert(name.clone(), value);
            }
            assert!(tool.call(arguments.clone()).is_ok(), "{arguments:?}");
            for name in required {
                let mut less = arguments.clone();
                less.remove(name.as_str().unwrap());
                assert!(tool.call(less).is_err(), "{name}");
            }
            assert_eq!(schema["additionalProperties"], false);
            assert_eq!(Tool::named(tool.as_str()), Some(tool));
        }
    }
}
