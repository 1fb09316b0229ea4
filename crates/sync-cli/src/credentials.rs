//! Tokens on this machine: `SYNC_TOKEN`, or a file that only its owner can read.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use snafu::{ResultExt, ensure};

use crate::Error;
use crate::env::Env;
use crate::error::{CredentialsOpenSnafu, CredentialsSnafu, NoHomeSnafu, WriteSnafu};

/// The file's content: tokens by remote and tenant.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    tokens: BTreeMap<String, String>,
}

fn key(url: &str, tenant: &str) -> String {
    format!("{} {tenant}", url.trim_end_matches('/'))
}

/// Where the file is: `$XDG_CONFIG_HOME/sync/credentials.json`, else below `$HOME/.config`.
pub(crate) fn path(env: &Env) -> Result<PathBuf, Error> {
    let config = env.var("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| env.var("HOME").map(|home| Path::new(&home).join(".config")));
    match config {
        Some(dir) => Ok(dir.join("sync").join("credentials.json")),
        None => NoHomeSnafu.fail(),
    }
}

/// The variable with the token for one remote alone: `SYNC_TOKEN_STAGING` for `staging`, with `_` for what no variable has.
pub(crate) fn variable(remote: &str) -> String {
    let letters = remote.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    });
    "SYNC_TOKEN_".chars().chain(letters).collect()
}

/// The token for a tenant, which the workspace calls `remote`: from the variable of that remote, from `SYNC_TOKEN`, else
/// from the file, for the first of the addresses that it has one for; `None` where none has one.
///
/// # Errors
///
/// Where the file is readable by others (it is refused, not used) or is damaged.
pub(crate) fn find(
    env: &Env,
    remote: &str,
    urls: &[&str],
    tenant: &str,
) -> Result<Option<String>, Error> {
    for variable in [variable(remote), "SYNC_TOKEN".to_owned()] {
        if let Some(token) = env.var(&variable).filter(|token| !token.is_empty()) {
            return Ok(Some(token.trim().to_owned()));
        }
    }
    for url in urls {
        if let Some(token) = stored(env, url, tenant)? {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// Whether the file has a token for a tenant.
///
/// # Errors
///
/// As [`find`].
pub(crate) fn is_stored(env: &Env, url: &str, tenant: &str) -> Result<bool, Error> {
    Ok(stored(env, url, tenant)?.is_some())
}

fn stored(env: &Env, url: &str, tenant: &str) -> Result<Option<String>, Error> {
    match path(env) {
        Ok(path) => Ok(load(&path)?.tokens.remove(&key(url, tenant))),
        // Without a home there is no file, and that is no reason to fail.
        Err(_) => Ok(None),
    }
}

/// Stores a token, replacing the file atomically with mode 0600.
pub(crate) fn store(env: &Env, url: &str, tenant: &str, token: &str) -> Result<PathBuf, Error> {
    let path = path(env)?;
    // Of two logins at once the second one waits, and adds to what the first one wrote.
    let _lock = lock(&path).context(WriteSnafu { path: &path })?;
    let mut stored = load(&path)?;
    stored.tokens.insert(key(url, tenant), token.to_owned());
    replace(&path, &stored).context(WriteSnafu { path: &path })?;
    Ok(path)
}

/// Held until the file that is returned is dropped.
fn lock(path: &Path) -> std::io::Result<fs::File> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let lock = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.with_extension("json.lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn load(path: &Path) -> Result<Stored, Error> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Stored::default()),
        Err(error) => {
            return CredentialsSnafu {
                path,
                reason: error.to_string(),
            }
            .fail();
        }
    };
    let others = metadata.permissions().mode() & 0o077;
    ensure!(others == 0, CredentialsOpenSnafu { path });
    let bytes = fs::read(path).map_err(|e| {
        CredentialsSnafu {
            path,
            reason: e.to_string(),
        }
        .build()
    })?;
    // The parser's own message could quote a token.
    serde_json::from_slice(&bytes).map_err(|_| {
        CredentialsSnafu {
            path,
            reason: "it is not JSON of ours",
        }
        .build()
    })
}

fn replace(path: &Path, stored: &Stored) -> std::io::Result<()> {
    let beside = path.with_extension("json.new");
    // A leftover of an earlier run may have other permissions.
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(stored)?)?;
    file.sync_data()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_stored_privately_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::from_pairs([("HOME", dir.path().to_str().unwrap())]);
        assert_eq!(find(&env, "default", &["https://a"], "t").unwrap(), None);
        let path = store(&env, "https://a/", "t", "secret").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            find(&env, "default", &["https://a"], "t").unwrap(),
            Some("secret".into())
        );
        assert_eq!(find(&env, "default", &["https://a"], "u").unwrap(), None);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            find(&env, "default", &["https://a"], "t"),
            Err(Error::CredentialsOpen { .. })
        ));
        let env = Env::from_pairs([("SYNC_TOKEN", "given")]);
        assert_eq!(
            find(&env, "default", &["https://a"], "t").unwrap(),
            Some("given".into())
        );
        let pairs = [("SYNC_TOKEN", "given"), ("SYNC_TOKEN_EU_2", "its own")];
        let env = Env::from_pairs(pairs);
        let of = |remote: &str| find(&env, remote, &["https://a"], "t").unwrap().unwrap();
        assert_eq!(of("eu-2"), "its own");
        assert_eq!(of("staging"), "given");
    }

    #[test]
    fn logins_at_once_lose_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let tenants: Vec<String> = (0..8).map(|n| format!("t{n}")).collect();
        std::thread::scope(|scope| {
            for tenant in &tenants {
                scope.spawn(move || {
                    let env = Env::from_pairs([("HOME", home)]);
                    store(&env, "https://a", tenant, tenant).unwrap();
                });
            }
        });
        let env = Env::from_pairs([("HOME", home)]);
        for tenant in &tenants {
            assert_eq!(
                find(&env, "default", &["https://a"], tenant)
                    .unwrap()
                    .as_ref(),
                Some(tenant)
            );
        }
    }

    #[test]
    fn a_damaged_file_is_reported_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::from_pairs([("XDG_CONFIG_HOME", dir.path().to_str().unwrap())]);
        let path = store(&env, "https://a", "t", "hunter2").unwrap();
        let text = fs::read_to_string(&path).unwrap().replace('}', "");
        fs::write(&path, text).unwrap();
        let error = find(&env, "default", &["https://a"], "t").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
