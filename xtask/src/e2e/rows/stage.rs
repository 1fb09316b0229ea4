//! What a scenario plays on: a tenant, its database, and workspaces with databases of their own.

use std::{
    cell::RefCell,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::super::{
    cli::Answer,
    scenario::{OwnServer, Place, Workspace, done},
};
use crate::postgres::{Postgres, Session};

/// The tables of a scenario.
#[derive(Debug, Clone, Copy)]
pub(in crate::e2e) struct Tables {
    /// Makes them, in every database.
    pub(in crate::e2e) setup: &'static str,
    /// The row sets, as `sync.toml` has them.
    pub(in crate::e2e) config: &'static str,
    /// What has to be equal on all sides: a query a table.
    pub(in crate::e2e) queries: &'static [&'static str],
}

/// Items, and their parts.
pub(in crate::e2e) const ITEMS: Tables = Tables {
    setup: "CREATE TABLE items (id text PRIMARY KEY, a text, b text, n int NOT NULL DEFAULT 0, updated_at timestamptz);
        CREATE TABLE parts (id text PRIMARY KEY, item text NOT NULL REFERENCES items (id), note text)",
    config: "[[database.tables]]\nname = \"items\"\n[[database.tables]]\nname = \"parts\"\n",
    queries: &[
        "SELECT id, a, b, n, extract(epoch FROM updated_at) FROM items ORDER BY id COLLATE \"C\"",
        "SELECT * FROM parts ORDER BY id COLLATE \"C\"",
    ],
};

/// The tables that `db migrate` makes.
pub(in crate::e2e) const DEFAULTS: Tables = Tables {
    setup: "",
    config: "",
    queries: &[
        "SELECT * FROM agents ORDER BY agent_id COLLATE \"C\"",
        "SELECT * FROM agent_skills ORDER BY skill_id COLLATE \"C\"",
        "SELECT id, name, email, status FROM users ORDER BY id COLLATE \"C\"",
        "SELECT context_id, user_id, name, kind FROM user_contexts ORDER BY context_id COLLATE \"C\"",
    ],
};

/// A database of a scenario's own, dropped with it.
#[derive(Debug)]
pub(in crate::e2e) struct Db<'p> {
    postgres: &'p Postgres,
    name: String,
    session: RefCell<Option<Session>>,
}

impl<'p> Db<'p> {
    /// A new database with tables.
    #[track_caller]
    pub(in crate::e2e) fn new(postgres: &'p Postgres, role: &str, setup: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let db = Self {
            postgres,
            name: format!("e2e_{}_{number}_{role}", std::process::id()),
            session: RefCell::default(),
        };
        db.superuser(&format!("CREATE DATABASE {}", db.name));
        db.ask(setup);
        db
    }

    /// Runs SQL elsewhere than in this database.
    #[track_caller]
    pub(in crate::e2e) fn superuser(&self, sql: &str) {
        let mut session = done(self.postgres.session("postgres"));
        done(session.ask(sql));
    }

    pub(in crate::e2e) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::e2e) fn url(&self) -> String {
        self.postgres.url(&self.name)
    }

    /// A session of its own, for somebody who works beside the others.
    #[track_caller]
    pub(in crate::e2e) fn session(&self) -> Session {
        done(self.postgres.session(&self.name))
    }

    /// Closes the session that [`Self::ask`] uses.
    pub(in crate::e2e) fn close(&self) {
        self.session.take();
    }

    /// Runs SQL and returns the rows as text; in a new session where the last one was lost.
    #[track_caller]
    pub(in crate::e2e) fn ask(&self, sql: &str) -> String {
        let mut slot = self.session.borrow_mut();
        let is_usable = slot.as_mut().is_some_and(|open| open.ask("").is_ok());
        if !is_usable {
            *slot = Some(self.session());
        }
        let answer = slot.as_mut().map(|open| open.ask(sql));
        drop(slot);
        answer.map_or_else(String::new, |answer| done(answer))
    }
}

impl Drop for Db<'_> {
    fn drop(&mut self) {
        self.close();
        // Where the server is gone, so is the database.
        if let Ok(mut session) = self.postgres.session("postgres") {
            let _ = session.ask(&format!(
                "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                self.name
            ));
        }
    }
}

/// Where a tenant is served.
#[derive(Debug, Clone)]
pub(in crate::e2e) struct Served {
    pub(in crate::e2e) data: PathBuf,
    pub(in crate::e2e) url: String,
    pub(in crate::e2e) token: String,
}

impl Served {
    /// On a scenario's own server, through its proxy.
    pub(in crate::e2e) fn by(own: &OwnServer) -> Self {
        Self {
            data: own.data.clone(),
            url: over_tls(own.proxy.address()),
            token: own.token.clone(),
        }
    }
}

/// A tenant with a database, and what its workspaces need.
#[derive(Debug)]
pub(in crate::e2e) struct Stage<'p> {
    pub(in crate::e2e) place: &'p Place<'p>,
    pub(in crate::e2e) served: Served,
    pub(in crate::e2e) tables: Tables,
    pub(in crate::e2e) tenant: Db<'p>,
}

/// A workspace with a database.
#[derive(Debug)]
pub(in crate::e2e) struct Side<'p> {
    pub(in crate::e2e) workspace: Workspace,
    pub(in crate::e2e) db: Db<'p>,
    queries: &'static [&'static str],
}

/// The URL of a server that listens at an address.
pub(in crate::e2e) fn over_tls(address: SocketAddr) -> String {
    format!("https://localhost:{}", address.port())
}

impl<'p> Stage<'p> {
    /// A tenant with a database, on the shared server.
    #[track_caller]
    pub(in crate::e2e) fn new(place: &'p Place<'p>, tables: Tables) -> Self {
        let served = Served {
            token: place.create_tenant(),
            data: place.data().to_owned(),
            url: over_tls(place.server()),
        };
        Self::at(place, place.postgres(), served, tables)
    }

    /// A tenant that is served somewhere, with a database on a PostgreSQL server.
    #[track_caller]
    pub(in crate::e2e) fn at(
        place: &'p Place<'p>,
        postgres: &'p Postgres,
        served: Served,
        tables: Tables,
    ) -> Self {
        let tenant = Db::new(postgres, "tenant", tables.setup);
        let stage = Self {
            place,
            served,
            tables,
            tenant,
        };
        stage.migrate(&stage.tenant);
        stage.give(&stage.tenant);
        stage
    }

    /// A file that says where a database is.
    #[track_caller]
    pub(in crate::e2e) fn url_file(&self, db: &Db<'_>) -> String {
        let file = self.place.directory().join(format!("{}.url", db.name()));
        write(&file, &db.url());
        file.display().to_string()
    }

    /// Makes what a database needs, the default tables where those are synced.
    #[track_caller]
    pub(in crate::e2e) fn migrate(&self, db: &Db<'_>) -> Answer {
        let file = self.url_file(db);
        let mut words = vec!["db", "--url-file", &file, "migrate"];
        if !self.tables.config.is_empty() {
            words.push("--bookkeeping");
        }
        self.place.cli().call(&words).ok()
    }

    /// Gives the tenant a database.
    #[track_caller]
    pub(in crate::e2e) fn give(&self, db: &Db<'_>) {
        let directory = self.place.directory();
        let tables = directory.join("tenant.toml");
        write(&tables, &format!("[database]\n{}", self.tables.config));
        let (url, tables) = (self.url_file(db), tables.display().to_string());
        let mut words = vec!["tenant", "database", self.place.tenant()];
        words.extend(["--url-file", &url, "--tables", &tables]);
        self.place.operator(&self.served.data, &words).ok();
    }

    /// A workspace with a new database.
    #[track_caller]
    pub(in crate::e2e) fn side(&self, name: &str) -> Side<'p> {
        self.side_on(self.place.postgres(), name)
    }

    /// A workspace with a new database on a PostgreSQL server.
    #[track_caller]
    pub(in crate::e2e) fn side_on(&self, postgres: &'p Postgres, name: &str) -> Side<'p> {
        let side = self.side_at(postgres, name, &self.served.url);
        self.migrate(&side.db);
        side
    }

    /// A workspace with a new database without bookkeeping, whose tenant is at a URL.
    #[track_caller]
    pub(in crate::e2e) fn side_at(
        &self,
        postgres: &'p Postgres,
        name: &str,
        url: &str,
    ) -> Side<'p> {
        Side::new(
            self.place,
            postgres,
            name,
            (url, &self.served.token),
            self.tables,
        )
    }

    /// What the tenant's database holds.
    #[track_caller]
    pub(in crate::e2e) fn rows(&self) -> String {
        rows(&self.tenant, self.tables.queries)
    }

    /// Demands that the tenant's database and a side's hold the same rows, and that both know it.
    #[track_caller]
    pub(in crate::e2e) fn assert_equal(&self, side: &Side<'_>) {
        assert_same(&self.rows(), &side.rows());
        side.call(&["db", "verify", "--read"]).ok();
    }
}

impl<'p> Side<'p> {
    /// A workspace with a new database with tables; its tenant is at a URL, and lets a token in.
    #[track_caller]
    pub(in crate::e2e) fn new(
        place: &'p Place<'p>,
        postgres: &'p Postgres,
        name: &str,
        (url, token): (&str, &str),
        tables: Tables,
    ) -> Self {
        let root = place.directory().join(name);
        let workspace = place.workspace_in(&root, url, token);
        let db = Db::new(postgres, name, tables.setup);
        write(&root.join("database.url"), &db.url());
        let side = Self {
            workspace,
            db,
            queries: tables.queries,
        };
        side.configure(tables.config);
        side
    }

    /// Writes the row sets into its `sync.toml`.
    #[track_caller]
    pub(in crate::e2e) fn configure(&self, tables: &str) {
        let path = self.workspace.root().join("sync.toml");
        let text = fs::read_to_string(&path).expect("read sync.toml");
        let rest = text.split("\n[database]").next().unwrap_or_default();
        let text = format!("{rest}\n[database]\nurl_file = \"database.url\"\n{tables}");
        write(&path, &text);
    }

    /// Says where its database is.
    #[track_caller]
    pub(in crate::e2e) fn set_url(&self, url: &str) {
        write(&self.workspace.root().join("database.url"), url);
    }

    #[track_caller]
    pub(in crate::e2e) fn call(&self, words: &[&str]) -> Answer {
        self.workspace.call(words)
    }

    #[track_caller]
    pub(in crate::e2e) fn push(&self) -> Answer {
        self.call(&["push", "database"])
    }

    #[track_caller]
    pub(in crate::e2e) fn pull(&self) -> Answer {
        self.call(&["pull", "database"])
    }

    #[track_caller]
    pub(in crate::e2e) fn sync(&self) -> Answer {
        self.call(&["sync", "database"])
    }

    #[track_caller]
    pub(in crate::e2e) fn undo(&self) -> Answer {
        self.call(&["undo", "database"])
    }

    #[track_caller]
    pub(in crate::e2e) fn track(&self) {
        self.call(&["db", "track"]).ok();
    }

    /// Where it stands to the tenant, in one word.
    #[track_caller]
    pub(in crate::e2e) fn standing(&self) -> String {
        let status = self.call(&["status", "database"]).ok().json();
        status["database"]["standing"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Runs SQL in its database.
    #[track_caller]
    pub(in crate::e2e) fn ask(&self, sql: &str) -> String {
        self.db.ask(sql)
    }

    /// What its database holds.
    #[track_caller]
    pub(in crate::e2e) fn rows(&self) -> String {
        rows(&self.db, self.queries)
    }
}

#[track_caller]
fn rows(db: &Db<'_>, queries: &[&str]) -> String {
    let answers: Vec<String> = queries.iter().map(|query| db.ask(query)).collect();
    answers.join("\n--\n")
}

/// Demands that two databases hold the same, and shows the first lines that differ.
#[track_caller]
pub(in crate::e2e) fn assert_same(one: &str, other: &str) {
    if one != other {
        let only = |a: &str, b: &str| -> Vec<String> {
            let lines: std::collections::BTreeSet<&str> = b.lines().collect();
            let left = a.lines().filter(|line| !lines.contains(line));
            left.take(10).map(str::to_owned).collect()
        };
        panic!(
            "databases differ: only in the one {:#?}, only in the other {:#?}",
            only(one, other),
            only(other, one)
        );
    }
}

#[track_caller]
pub(in crate::e2e) fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("write a file");
}
