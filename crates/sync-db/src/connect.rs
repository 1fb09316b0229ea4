//! Where a database is, and connections to it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    Timeouts,
};
use tokio_postgres::NoTls;
use tokio_postgres::config::{Config, Host, SslMode};

use crate::Error;
use crate::definitions::Definitions;
use crate::error::{TimeoutSnafu, UnreachableSnafu, UrlSnafu};
use crate::tls;

/// What every connection of ours is set to, so that neither the role's settings nor the server's change what values look like.
/// `row_security = off` makes a policy that would hide rows an error: a table that is seen in part must not look emptied.
const SETTINGS: &str = "SET client_encoding = 'UTF8'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
    SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET lc_monetary = 'C'; \
    SET xmloption = 'content'; SET standard_conforming_strings = on; SET row_security = off; SET jit = off; \
    SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '30s'; \
    SET synchronous_commit = on; SET default_transaction_read_only = off";

/// How a database is connected to.
#[derive(Debug, Clone, Copy)]
pub struct ConnectOptions {
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// The most connections at once; a watcher needs one for itself.
    pub connections: usize,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            connections: 4,
        }
    }
}

/// A database. Cheap to clone; nothing is connected before it is used.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    config: Arc<Config>,
    tls: Option<tokio_postgres_rustls::MakeRustlsConnect>,
    at: Arc<str>,
    options: ConnectOptions,
    /// What was asked of tables before.
    pub(crate) definitions: Arc<Definitions>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// The database that `url` names, as `postgres://user:password@host:port/name?sslmode=…&sslrootcert=…`.
    ///
    /// To another machine TLS is a must unless `sslmode=disable` says otherwise, and certificates are always checked;
    /// to this machine it is used where `sslmode` asks for it. Reads the file of `sslrootcert`.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] and [`Error::Certificates`]; neither shows the URL.
    pub fn new(url: &str, options: ConnectOptions) -> Result<Self, Error> {
        let address = Address::parse(url)?;
        let mut config = address.config;
        config
            .application_name("sync")
            .connect_timeout(options.connect_timeout)
            .keepalives_idle(Duration::from_secs(30));
        let at = describe(&config);
        let manager_config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let tls = if config.get_ssl_mode() == SslMode::Disable {
            None
        } else {
            Some(tls::connector(address.ca_file.as_deref())?)
        };
        let manager = match &tls {
            Some(tls) => Manager::from_config(config.clone(), tls.clone(), manager_config),
            None => Manager::from_config(config.clone(), NoTls, manager_config),
        };
        let settle = Hook::async_fn(|client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move {
                let set = client.batch_execute(SETTINGS).await;
                set.map_err(HookError::Backend)
            })
        });
        let pool = Pool::builder(manager)
            .max_size(options.connections)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(options.connect_timeout),
                create: Some(options.connect_timeout),
                recycle: Some(options.connect_timeout),
            })
            .post_create(settle)
            .build();
        let pool = pool.map_err(|error| Error::Url {
            reason: error.to_string(),
        })?;
        Ok(Self {
            pool,
            config: Arc::new(config),
            tls,
            at: at.into(),
            options,
            definitions: Arc::default(),
        })
    }

    /// Host, port and name, for people: never the password.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// A connection with our settings.
    pub(crate) async fn connection(&self, doing: &str) -> Result<Object, Error> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                self.error(doing, &error)
            }
            PoolError::Timeout(_) => TimeoutSnafu {
                doing: format!("{doing}, waiting for a connection"),
                limit: self.options.connect_timeout,
            }
            .build(),
            other => UnreachableSnafu {
                at: self.at.as_ref(),
                doing,
                reason: other.to_string(),
            }
            .build(),
        })
    }

    /// What a listener connects with: it outlives the pool's idea of a connection.
    pub(crate) fn parts(&self) -> (&Config, Option<&tokio_postgres_rustls::MakeRustlsConnect>) {
        (&self.config, self.tls.as_ref())
    }

    /// An error of the driver in our words.
    pub(crate) fn error(&self, doing: &str, error: &tokio_postgres::Error) -> Error {
        Error::of(&self.at, doing, error)
    }

    /// Turns an error of the driver into ours: for `map_err`.
    pub(crate) fn while_<'a>(
        &'a self,
        doing: &'a str,
    ) -> impl Fn(tokio_postgres::Error) -> Error + Copy + 'a {
        move |error| self.error(doing, &error)
    }
}

/// What a URL says.
#[derive(Debug)]
struct Address {
    config: Config,
    ca_file: Option<PathBuf>,
}

impl Address {
    fn parse(url: &str) -> Result<Self, Error> {
        let refused = |reason: String| Error::Url { reason };
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return UrlSnafu {
                reason: "it does not start with `postgres://`",
            }
            .fail();
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut ca_file, mut mode, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslrootcert", path)) => ca_file = Some(PathBuf::from(unescape(path))),
                Some(("sslmode", value)) => mode = Some(value),
                _ => rest.push(pair),
            }
        }
        let plain = match rest.as_slice() {
            [] => base.to_owned(),
            rest => format!("{base}?{}", rest.join("&")),
        };
        // The parser's message names what it does not know, not values.
        let mut config: Config = plain.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error);
            refused(cause.map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        let mode = match mode {
            Some("disable") => SslMode::Disable,
            None if is_local(&config) && ca_file.is_none() => SslMode::Disable,
            // Certificates are checked whenever there is TLS, so these three are one; `prefer` would be no promise.
            None | Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
            Some(other) => {
                return Err(refused(format!(
                    "`sslmode={other}` is none of `disable`, `require`, `verify-ca` and `verify-full`"
                )));
            }
        };
        config.ssl_mode(mode);
        if config.get_dbname().is_none() && config.get_user().is_none() {
            return Err(refused("it names no database".to_owned()));
        }
        Ok(Self { config, ca_file })
    }
}

/// Whether every host is this machine.
fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            let address: Result<std::net::IpAddr, _> = name.parse();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

fn describe(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let name = config
        .get_dbname()
        .or(config.get_user())
        .unwrap_or_default();
    format!("{host}:{port}/{name}")
}

/// Undoes percent-encoding, as far as paths need it.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: Result<(&str, SslMode), &str>) {
        match (Address::parse(url), expected) {
            (Ok(address), Ok((at, mode))) => {
                assert_eq!(
                    (
                        describe(&address.config).as_str(),
                        address.config.get_ssl_mode()
                    ),
                    (at, mode)
                );
            }
            (Err(error), Err(part)) => {
                let said = error.to_string();
                assert!(said.contains(part) && !said.contains("hunter2"), "{said}");
            }
            (outcome, _) => panic!("{url}: {outcome:?}"),
        }
    }

    #[test]
    fn urls() {
        check(
            "postgres://u:hunter2@127.0.0.1:5433/db",
            Ok(("127.0.0.1:5433/db", SslMode::Disable)),
        );
        check(
            "postgres://u:hunter2@db.example.com/db",
            Ok(("db.example.com:5432/db", SslMode::Require)),
        );
        check(
            "postgres://u@db.example.com/db?sslmode=disable",
            Ok(("db.example.com:5432/db", SslMode::Disable)),
        );
        check(
            "postgres://u@localhost/db?sslmode=verify-full",
            Ok(("localhost:5432/db", SslMode::Require)),
        );
        check(
            "postgres://u@localhost/db?sslrootcert=/a%20b.pem",
            Ok(("localhost:5432/db", SslMode::Require)),
        );
        check(
            "postgres://u:hunter2@h/db?sslmode=prefer",
            Err("`sslmode=prefer` is none"),
        );
        check("postgres://u:hunter2@h/db?nonsense=1", Err("nonsense"));
        check("mysql://u:hunter2@h/db", Err("does not start"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let database = Database::new(
            "postgres://u:hunter2@127.0.0.1:1/db",
            ConnectOptions::default(),
        );
        assert!(!format!("{:?}", database.unwrap()).contains("hunter2"));
    }
}
