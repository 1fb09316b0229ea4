//! What a scenario plays on: a workspace beside a database of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use serde_json::Value;

use super::super::{
    cli::Answer,
    rows::stage::Db,
    scenario::{Place, Workspace},
    trees,
};
use crate::postgres::Postgres;

/// Every kind of item.
pub(super) const KINDS: [&str; 3] = ["skills", "content", "access-control"];

/// The sources of pages in most scenarios.
pub(super) const SOURCES: &str = "content_sources:\n  blog: {path: content/blog}\n";

/// A workspace beside a database.
#[derive(Debug)]
pub(super) struct Desk<'p> {
    pub(super) place: &'p Place<'p>,
    pub(super) workspace: Workspace,
    pub(super) db: Rc<Db<'p>>,
}

/// A page of the source `blog`.
pub(super) fn page(slug: &str, body: &str) -> String {
    format!(
        "---\ntitle: The {slug}\nslug: {slug}\nkind: article\nauthor: Ada\npublished_at: 2026-10-06\n---\n\n{body}\n"
    )
}

impl<'p> Desk<'p> {
    /// A workspace beside a new database with the default tables.
    #[track_caller]
    pub(super) fn new(place: &'p Place<'p>) -> Self {
        Self::on(place, place.postgres())
    }

    /// The same on a PostgreSQL server.
    #[track_caller]
    pub(super) fn on(place: &'p Place<'p>, postgres: &'p Postgres) -> Self {
        let db = Rc::new(Db::new(postgres, "desk", ""));
        let desk = Self::with(place, "here", db);
        desk.call(&["db", "migrate"]).ok();
        desk
    }

    /// Another workspace beside the same database, with nothing but the configuration of sources in its tree.
    #[track_caller]
    pub(super) fn elsewhere(&self, name: &str) -> Self {
        let desk = Self::with(self.place, name, Rc::clone(&self.db));
        if self.exists("content/config.yaml") {
            desk.write("content/config.yaml", &self.read("content/config.yaml"));
        }
        desk
    }

    #[track_caller]
    fn with(place: &'p Place<'p>, name: &str, db: Rc<Db<'p>>) -> Self {
        let root = place.directory().join(name);
        let workspace = place.workspace_in(&root, "embedded:tenant", "");
        let config = root.join("sync.toml");
        let mut text = fs::read_to_string(&config).expect("read sync.toml");
        text.push_str("\n[database]\nurl_file = \"database.url\"\n");
        fs::write(&config, text).expect("write sync.toml");
        fs::write(root.join("database.url"), db.url()).expect("write a URL");
        Self {
            place,
            workspace,
            db,
        }
    }

    #[track_caller]
    pub(super) fn call(&self, words: &[&str]) -> Answer {
        self.workspace.call(words)
    }

    #[track_caller]
    pub(super) fn push(&self, kind: &str) -> Answer {
        self.call(&["push", kind])
    }

    #[track_caller]
    pub(super) fn pull(&self, kind: &str) -> Answer {
        self.call(&["pull", kind])
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.workspace.services()
    }

    #[track_caller]
    pub(super) fn write(&self, path: &str, text: &str) {
        trees::write(&self.tree(), path, text);
    }

    #[track_caller]
    pub(super) fn read(&self, path: &str) -> String {
        trees::read(&self.tree(), path)
    }

    #[track_caller]
    pub(super) fn remove(&self, path: &str) {
        trees::remove(&self.tree(), path);
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.tree().join(path).exists()
    }

    /// Runs SQL in the database, as a program of the user does.
    #[track_caller]
    pub(super) fn ask(&self, sql: &str) -> String {
        self.db.ask(sql)
    }

    /// Demands that both sides have the same of a kind, and that this is written down: neither direction has anything to do.
    #[track_caller]
    pub(super) fn assert_settled(&self, kind: &str) {
        let status = self.call(&["status", kind, "--exit-code"]).ok().json();
        assert_eq!(status[kind]["standing"], "in_sync", "{status}");
        for verb in ["push", "pull"] {
            let answer = self.call(&[verb, kind]).ok();
            let json = answer.json();
            let counts = counts(&json);
            assert_eq!(
                (counts, json["adopted"].as_u64()),
                ([0; 3], Some(0)),
                "{json}"
            );
        }
        let diff = self.call(&["diff", kind, "--exit-code"]).ok().json();
        assert_eq!(diff["items"], Value::Array(Vec::new()));
    }
}

/// How many items came, changed and went.
pub(super) fn counts(report: &Value) -> [u64; 3] {
    ["created", "updated", "deleted"].map(|key| report[key].as_u64().unwrap_or(u64::MAX))
}

/// Copies a tree.
#[track_caller]
pub(super) fn copy(from: &Path, to: &Path) {
    for (path, node) in trees::nodes(from) {
        if let trees::Node::File { .. } = node {
            let target = to.join(&path);
            fs::create_dir_all(target.parent().expect("a directory")).expect("make a directory");
            fs::copy(from.join(&path), target).expect("copy a file");
        }
    }
}
