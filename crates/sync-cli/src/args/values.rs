//! What the flags take, as people write it.

use std::str::FromStr;
use std::time::Duration;

use sync_engine::OnConflict;
use sync_engine::local::{LocalKind, Side};

use crate::Error;
use crate::error::{TargetsSnafu, WrongFlagSnafu};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One object.
    Json,
    /// Every event, then the result, a line each.
    Ndjson,
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            _ => Err("expected text, json or ndjson".into()),
        }
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl FromStr for Color {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("expected auto, always or never".into()),
        }
    }
}

/// What is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Target {
    /// The workspace's tree of files.
    #[default]
    Files,
    /// The rows of its database.
    Database,
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "files" => Ok(Self::Files),
            "database" => Ok(Self::Database),
            _ => Err("expected `files` or `database`".into()),
        }
    }
}

/// What a rollback brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returning {
    /// Files or rows.
    Tenant(Target),
    /// What the tenant runs.
    Release,
}

impl FromStr for Returning {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "release" => Ok(Self::Release),
            text => text
                .parse()
                .map(Self::Tenant)
                .map_err(|_| "expected `files`, `database` or `release`".into()),
        }
    }
}

impl Target {
    /// The target as it stands in operations and reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Database => "database",
        }
    }
}

/// What a sync is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncTarget {
    /// Files, and rows where there is a database.
    All,
    /// One of them.
    One(Target),
}

impl FromStr for SyncTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == ALL {
            return Ok(Self::All);
        }
        let one = text.parse().map(Self::One);
        one.map_err(|_: String| "expected `files`, `database` or `all`".into())
    }
}

/// The word for everything that is configured.
pub(crate) const ALL: &str = "all";

/// What one word after a verb names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Files, and rows where there is a database.
    All,
    /// Between workspace and tenant.
    Tenant(Target),
    /// Between the tree and the workspace's database.
    Local(LocalKind),
}

impl FromStr for Aim {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let local = LocalKind::ALL.into_iter();
        let local = local.map(Self::Local);
        let tenant = [Target::Files, Target::Database].map(Self::Tenant);
        let mut every = tenant.into_iter().chain(local).chain([Self::All]);
        every.find(|aim| aim.as_str() == text).ok_or_else(|| {
            "expected `files`, `database`, `skills`, `content`, `access-control` or `all`".into()
        })
    }
}

impl Aim {
    /// The word that names it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::All => ALL,
            Self::Tenant(target) => target.as_str(),
            Self::Local(kind) => kind.as_str(),
        }
    }
}

/// The verb and what it is about, as they stand in reports: one of the two alone where several are named.
pub(crate) fn named(verb: &'static str, aims: &[Aim]) -> &'static str {
    /// Every verb that can be about several things, with each.
    const NAMES: &[&str] = &[
        "push all",
        "push files",
        "push database",
        "push skills",
        "push content",
        "push access-control",
        "pull all",
        "pull files",
        "pull database",
        "pull skills",
        "pull content",
        "pull access-control",
        "status files",
        "status all",
        "status database",
        "status skills",
        "status content",
        "status access-control",
        "watch files",
        "watch database",
        "watch skills",
        "watch content",
        "watch access-control",
    ];
    let aim = match aims {
        [] if verb == "watch" => Target::Files.as_str(),
        [] => ALL,
        [aim] => aim.as_str(),
        _ => return verb,
    };
    let is_it = |name: &&&str| name.split_once(' ') == Some((verb, aim));
    NAMES.iter().find(is_it).copied().unwrap_or(verb)
}

/// What the words after a verb name together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// Files, and rows where there is a database.
    All,
    /// One thing between workspace and tenant.
    Tenant(Target),
    /// Some between the tree and the workspace's database, in the order in which they were named.
    Local(Vec<LocalKind>),
}

impl Chosen {
    /// Everything where nothing is named.
    pub(crate) fn of(aims: &[Aim]) -> Result<Self, Error> {
        let mut kinds = Vec::new();
        for aim in aims {
            match aim {
                Aim::Tenant(target) if aims.len() == 1 => return Ok(Self::Tenant(*target)),
                Aim::All if aims.len() == 1 => return Ok(Self::All),
                Aim::Tenant(_) | Aim::All => return TargetsSnafu.fail(),
                Aim::Local(kind) if !kinds.contains(kind) => kinds.push(*kind),
                Aim::Local(_) => {}
            }
        }
        Ok(if kinds.is_empty() {
            Self::All
        } else {
            Self::Local(kinds)
        })
    }
}

/// What is done where both sides changed the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Between workspace and tenant.
    Tenant(OnConflict),
    /// Between the tree and the workspace's database.
    Local(Side),
}

impl FromStr for Choice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse().map(Self::Local) {
            Ok(choice) => Ok(choice),
            Err(_) => text.parse().map(Self::Tenant),
        }
    }
}

impl Choice {
    /// As it is meant between workspace and tenant.
    pub(crate) fn for_tenant(self) -> Result<OnConflict, Error> {
        match self {
            Self::Tenant(choice) => Ok(choice),
            Self::Local(_) => WrongFlagSnafu {
                flag: "--on-conflict disk|database",
                targets: ITEMS,
            }
            .fail(),
        }
    }

    /// As it is meant between the tree and the workspace's database.
    pub(crate) fn for_local(self) -> Result<Option<Side>, Error> {
        match self {
            Self::Tenant(OnConflict::Ask) => Ok(None),
            Self::Local(side) => Ok(Some(side)),
            Self::Tenant(_) => WrongFlagSnafu {
                flag: "--on-conflict ours|theirs|keep-both",
                targets: TENANT,
            }
            .fail(),
        }
    }
}

/// What is synced between the tree and the workspace's database, for people.
pub(crate) const ITEMS: &str = "skills, content and access-control";
/// What is synced between workspace and tenant.
pub(crate) const TENANT: &str = "files and database";

/// A length of time as people write it: a number and one of `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime(pub(crate) Duration);

impl FromStr for Lifetime {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number and a unit, such as 90d, 12h, 30m or 45s".to_owned();
        let unit = text.chars().next_back().ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return Err(wrong()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        number
            .checked_mul(seconds)
            .map(Duration::from_secs)
            .map(Self)
            .ok_or_else(wrong)
    }
}

/// A shell that completions can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
    /// Nushell.
    Nushell,
}

impl FromStr for Shell {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bash" => Ok(Self::Bash),
            "zsh" => Ok(Self::Zsh),
            "fish" => Ok(Self::Fish),
            "nushell" => Ok(Self::Nushell),
            _ => Err("expected bash, zsh, fish or nushell".into()),
        }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_together() {
        let chosen = |words: &[&str]| {
            let aims: Vec<Aim> = words.iter().map(|word| word.parse().unwrap()).collect();
            Chosen::of(&aims).ok()
        };
        assert_eq!(chosen(&[]), Some(Chosen::All));
        assert_eq!(chosen(&["all"]), Some(Chosen::All));
        assert_eq!(chosen(&["files"]), Some(Chosen::Tenant(Target::Files)));
        assert_eq!(chosen(&["all", "database"]), None);
        assert_eq!(
            chosen(&["database"]),
            Some(Chosen::Tenant(Target::Database))
        );
        assert_eq!(
            chosen(&["content", "skills", "content"]),
            Some(Chosen::Local(vec![LocalKind::Content, LocalKind::Skills]))
        );
        assert_eq!(chosen(&["files", "skills"]), None);
        assert_eq!(chosen(&["files", "database"]), None);
        for verb in ["push", "pull", "status", "watch"] {
            for word in ["files", "database", "skills", "content", "access-control"] {
                let aims = [word.parse().unwrap()];
                assert_eq!(named(verb, &aims), format!("{verb} {word}"));
            }
        }
        for (verb, whole) in [
            ("push", "push all"),
            ("pull", "pull all"),
            ("status", "status all"),
            ("watch", "watch files"),
        ] {
            assert_eq!(named(verb, &[]), whole);
        }
    }

    #[test]
    fn lifetimes() {
        let seconds = |text: &str| text.parse::<Lifetime>().ok().map(|l| l.0.as_secs());
        assert_eq!(seconds("90d"), Some(90 * 24 * 60 * 60));
        assert_eq!(seconds("45s"), Some(45));
        for bad in ["", "d", "90", "-1d", "1w", "99999999999999999999d", "1é"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
