//! Databases on one server, for ours and for peers alike, and sessions with them through `psql`.

use std::{
    env,
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use snafu::{OptionExt as _, ResultExt as _};

use crate::{
    cargo,
    error::{IoSnafu, Result, UnexpectedSnafu},
    postgres::Postgres,
};

/// What a session prints after each answer.
const END: &str = "-- end of the answer --";

/// The server that holds every database of a run.
#[derive(Debug)]
pub(in crate::bench) struct Server {
    postgres: Postgres,
    address: Address,
}

/// Who the superuser is, and where.
#[derive(Debug, Clone)]
struct Address {
    user: String,
    password: String,
    host: String,
    port: String,
    /// Vouches for the server's certificate; without one there is no TLS.
    authority: Option<String>,
}

/// A database; dropped with this value.
#[derive(Debug)]
pub(in crate::bench) struct Database {
    name: String,
    address: Address,
}

impl Server {
    /// The server that tests use, or a new one.
    pub(in crate::bench) fn new() -> Result<Self> {
        let postgres = Postgres::up_or_found()?;
        let ours = postgres.environment();
        let value = |name: &str| {
            let found = ours.iter().find(|(known, _)| *known == name);
            found
                .map(|(_, value)| value.clone())
                .or_else(|| env::var(name).ok())
        };
        let url = value("SYNC_TEST_POSTGRES").unwrap_or_default();
        let address = Address::parse(&url, value("SYNC_TEST_POSTGRES_CA"));
        let address = address.context(UnexpectedSnafu {
            what: "the URL of the server is not `postgres://user[:password]@host:port/name`",
        })?;
        Ok(Self { postgres, address })
    }

    /// What it is, for the report.
    pub(in crate::bench) fn description(&self) -> Result<String> {
        let at = Database {
            name: "postgres".to_owned(),
            address: self.address.clone(),
        };
        let asked = at.run("SHOW server_version; SHOW fsync; SHOW synchronous_commit; SHOW shared_buffers; SHOW max_wal_size")?;
        // It is no database of ours to drop.
        std::mem::forget(at);
        let mut lines = asked.lines();
        let mut next = || lines.next().unwrap_or("?");
        Ok(format!(
            "PostgreSQL {}, fsync {}, synchronous_commit {}, shared_buffers {}, max_wal_size {}, {}",
            next(),
            next(),
            next(),
            next(),
            next(),
            if self.address.authority.is_some() {
                "TLS with the certificate checked, for peers too"
            } else {
                "no TLS"
            }
        ))
    }

    /// A new database, empty or a copy of another.
    pub(in crate::bench) fn database(
        &self,
        name: &str,
        template: Option<&Database>,
    ) -> Result<Database> {
        let database = Database {
            name: format!("sync_bench_{}_{name}", std::process::id()),
            address: self.address.clone(),
        };
        let of = template.map_or_else(String::new, |template| {
            format!(" TEMPLATE {} STRATEGY file_copy", template.name)
        });
        database.administer(&format!("CREATE DATABASE {}{of}", database.name))?;
        Ok(database)
    }

    /// Removes it if this process started it.
    pub(in crate::bench) fn down(self) -> Result<()> {
        self.postgres.down()
    }
}

impl Address {
    fn parse(url: &str, authority: Option<String>) -> Option<Self> {
        let (_, rest) = url.split_once("://")?;
        let (who, place) = rest.split_once('@')?;
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        let (host, port) = place.split('/').next()?.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: password.to_owned(),
            host: host.to_owned(),
            port: port.to_owned(),
            authority,
        })
    }
}

impl Database {
    /// Its name.
    pub(in crate::bench) fn name(&self) -> &str {
        &self.name
    }

    /// Its address, for ours.
    pub(in crate::bench) fn url(&self) -> String {
        let Address {
            user,
            password,
            host,
            port,
            authority,
        } = &self.address;
        let tls = authority.as_ref().map_or_else(String::new, |authority| {
            format!("?sslmode=verify-full&sslrootcert={authority}")
        });
        format!(
            "postgres://{user}:{password}@{host}:{port}/{}{tls}",
            self.name
        )
    }

    /// A program of PostgreSQL that finds this database in its environment.
    pub(in crate::bench) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("PGHOST", &self.address.host)
            .env("PGPORT", &self.address.port)
            .env("PGUSER", &self.address.user)
            .env("PGPASSWORD", &self.address.password)
            .env("PGDATABASE", &self.name)
            .env("PGAPPNAME", "bench");
        match &self.address.authority {
            Some(authority) => command
                .env("PGSSLMODE", "verify-full")
                .env("PGSSLROOTCERT", authority),
            None => command.env("PGSSLMODE", "disable"),
        };
        command
    }

    /// Runs SQL and gives its rows as text.
    pub(in crate::bench) fn run(&self, sql: &str) -> Result<String> {
        let mut command = self.psql();
        for statement in sql.split(";;") {
            command.args(["--command", statement]);
        }
        Ok(cargo::output(&mut command)?.trim_end().to_owned())
    }

    /// A number that a query gives.
    pub(in crate::bench) fn number(&self, sql: &str) -> Result<u64> {
        let text = self.run(sql)?;
        text.trim().parse().ok().context(UnexpectedSnafu {
            what: format!("`{sql}` gave `{text}`"),
        })
    }

    /// A session that stays open.
    pub(in crate::bench) fn session(&self) -> Result<Session> {
        let action = || IoSnafu {
            action: "start psql",
        };
        let mut child = self
            .psql()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|_| action())?;
        let streams = child.stdin.take().zip(child.stdout.take());
        let (input, output) = streams.context(UnexpectedSnafu {
            what: "psql has no streams",
        })?;
        let mut session = Session {
            child,
            input: Some(input),
            lines: BufReader::new(output).lines(),
        };
        session.ask("SELECT 1")?;
        Ok(session)
    }

    fn psql(&self) -> Command {
        let mut command = self.program("psql");
        command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"]);
        command.args(["--set", "ON_ERROR_STOP=1"]);
        command
    }

    fn administer(&self, sql: &str) -> Result<()> {
        let mut command = self.psql();
        command.env("PGDATABASE", "postgres");
        cargo::output(command.args(["--command", sql])).map(drop)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let gone = self.administer(&format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            self.name
        ));
        if gone.is_err() {
            eprintln!("note: the database `{}` is still there", self.name);
        }
    }
}

/// A session of one client: what it asks is answered in a fraction of a millisecond.
#[derive(Debug)]
pub(in crate::bench) struct Session {
    child: Child,
    /// `None` once it is closed.
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Session {
    /// Runs one statement and gives its rows as text.
    pub(in crate::bench) fn ask(&mut self, sql: &str) -> Result<String> {
        let context = || IoSnafu {
            action: "talk to psql",
        };
        if let Some(input) = &mut self.input {
            // One write, so that no part of it waits for another.
            let text = format!("{sql};\n\\echo {END}\n");
            input
                .write_all(text.as_bytes())
                .with_context(|_| context())?;
        }
        let mut answer = Vec::new();
        loop {
            let line = self.lines.next().context(UnexpectedSnafu {
                what: format!("psql ended at `{sql}`"),
            })?;
            let line = line.with_context(|_| context())?;
            if line == END {
                return Ok(answer.join("\n"));
            }
            answer.push(line);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.input = None;
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let address = Address::parse("postgresql://postgres:pw@127.0.0.1:5432/postgres", None);
        let address = address.unwrap();
        assert_eq!(
            (address.user.as_str(), address.password.as_str()),
            ("postgres", "pw")
        );
        assert_eq!(
            (address.host.as_str(), address.port.as_str()),
            ("127.0.0.1", "5432")
        );
        let without = Address::parse("postgres://u@localhost:1/x", None).unwrap();
        assert_eq!(without.password, "");
        assert!(Address::parse("localhost", None).is_none());
    }
}
