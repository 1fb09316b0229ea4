//! `.sync/identities.json`: the tenants that a workspace has met.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use snafu::ResultExt;
use sync_core::Name;
use sync_store::PublicKey;
use sync_store::identity::Succession;

use crate::error::{StateSnafu, WriteSnafu};
use crate::state::{PRIVATE_FILE, Sync, replace_as};
use crate::{Error, Workspace};

const FILE: &str = "identities.json";
/// Of two runs that meet tenants at once, the second adds to what the first wrote.
const LOCK: &str = "identities.lock";
/// More moves than a tenant makes; a circle ends here.
const MOVES: usize = 16;

/// Every tenant that was met, by [`address`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Known(BTreeMap<String, Met>);

/// A tenant that was met at an address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Met {
    /// Who it is; absent where it has no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<PublicKey>,
    /// What everything that is remembered of it is kept under, where that is not this address: it was met elsewhere before, or
    /// somebody else was met here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known_as: Option<String>,
    /// The address of the server to which it has moved from here, as it said itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved_to: Option<String>,
}

/// A tenant at an address: what it is known under until it moves.
pub(crate) fn address(url: &str, tenant: &Name) -> String {
    format!("{} {tenant}", url.trim_end_matches('/'))
}

impl Known {
    /// Reads the file below `private`; a workspace that has met nobody has none.
    ///
    /// # Errors
    ///
    /// [`Error::State`] where it is there and does not read: to forget a key silently would be to believe the next one.
    pub(crate) fn load(private: &Path) -> Result<Self, Error> {
        let path = private.join(FILE);
        let damaged = |reason: String| {
            StateSnafu {
                path: &path,
                reason,
            }
            .build()
        };
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(damaged(error.to_string())),
        }
    }

    fn at(&self, url: &str, tenant: &Name) -> Option<&Met> {
        self.0.get(&address(url, tenant))
    }

    fn at_mut(&mut self, url: &str, tenant: &Name) -> &mut Met {
        self.0.entry(address(url, tenant)).or_default()
    }

    /// Whether anybody was met at an address.
    pub(crate) fn is_met(&self, url: &str, tenant: &Name) -> bool {
        self.0.contains_key(&address(url, tenant))
    }

    /// Who was met at an address.
    pub(crate) fn key(&self, url: &str, tenant: &Name) -> Option<PublicKey> {
        self.at(url, tenant)?.key
    }

    /// Everybody who was met and has a key, by address.
    pub(crate) fn keys(&self) -> Vec<(String, PublicKey)> {
        let met = self.0.iter();
        met.filter_map(|(address, met)| Some((address.clone(), met.key?)))
            .collect()
    }

    /// Where a tenant has lived since it lived at `url`, in order.
    fn moves<'k>(&'k self, url: &'k str, tenant: &Name) -> impl Iterator<Item = &'k str> {
        let next = |url: &&str| self.at(url, tenant)?.moved_to.as_deref();
        std::iter::successors(Some(url), next).take(MOVES)
    }

    /// Where a tenant lives that once lived at `url`.
    pub(crate) fn url(&self, url: &str, tenant: &Name) -> String {
        self.moves(url, tenant).last().unwrap_or(url).to_owned()
    }

    /// The addresses that lead there.
    pub(crate) fn path(&self, url: &str, tenant: &Name) -> Vec<String> {
        let moves = self.moves(url, tenant);
        moves.map(|url| address(url, tenant)).collect()
    }

    /// What everything that is remembered of a tenant that once lived at `url` is kept under.
    pub(crate) fn name(&self, url: &str, tenant: &Name) -> String {
        let url = self.url(url, tenant);
        let known_as = self.at(&url, tenant).and_then(|met| met.known_as.clone());
        known_as.unwrap_or_else(|| address(&url, tenant))
    }

    /// Whether tenants were met that are not among the `named`: one of them may be met again elsewhere.
    pub(crate) fn has_lost(&self, named: &BTreeSet<String>) -> bool {
        self.0.keys().any(|address| !named.contains(address))
    }

    /// Who answers at an address is `key`, or nobody who has one.
    pub(crate) fn meet(&mut self, url: &str, tenant: &Name, key: Option<PublicKey>) {
        self.at_mut(url, tenant).key = key;
    }

    /// Likewise, at an address where nobody was met before. Where he was met at one that is not among the `named`, what is
    /// remembered of him is found under that.
    pub(crate) fn recognise(
        &mut self,
        url: &str,
        tenant: &Name,
        key: PublicKey,
        chain: &[Succession],
        named: &BTreeSet<String>,
    ) {
        let was = self.0.iter().find(|(address, met)| {
            let is_same = met
                .key
                .is_some_and(|met| Succession::leads(chain, met, key));
            is_same && !named.contains(*address)
        });
        let name =
            was.map(|(address, met)| met.known_as.clone().unwrap_or_else(|| address.clone()));
        let met = self.at_mut(url, tenant);
        met.key = Some(key);
        if let Some(name) = name {
            met.known_as = Some(name).filter(|name| *name != address(url, tenant));
        }
    }

    /// The tenant at `from` has said that it lives at `to`, where `key` was met.
    pub(crate) fn follow(&mut self, from: &str, to: &str, tenant: &Name, key: PublicKey) {
        let name = self.name(from, tenant);
        let is_met = self.is_met(to, tenant);
        let met = self.at_mut(to, tenant);
        met.key = Some(key);
        // It may have lived there before.
        met.moved_to = None;
        if !is_met {
            met.known_as = Some(name);
        }
        let left = self.at_mut(from, tenant);
        left.key.get_or_insert(key);
        left.moved_to = Some(to.trim_end_matches('/').to_owned());
    }

    /// A person says that the tenant of `from` is at `to`, where `key` was met, from now on.
    pub(crate) fn carry(&mut self, from: &str, to: &str, tenant: &Name, key: Option<PublicKey>) {
        let name = self.name(from, tenant);
        let (here, there) = (address(from, tenant), address(to, tenant));
        if here == there {
            let met = self.at_mut(to, tenant);
            (met.key, met.moved_to) = (key, None);
            met.known_as = Some(name).filter(|name| *name != there);
            return;
        }
        // Whoever is met there again is not taken for the one who left.
        let fresh = self.fresh(&here, &name);
        let left = self.at_mut(from, tenant);
        (left.known_as, left.moved_to) = (fresh, None);
        let met = self.at_mut(to, tenant);
        (met.key, met.moved_to) = (key, None);
        met.known_as = Some(name).filter(|name| *name != there);
    }

    /// A person says that `key` is right: what is remembered of who was at this address says nothing about who is.
    pub(crate) fn trust(&mut self, url: &str, tenant: &Name, key: Option<PublicKey>) {
        let name = self.name(url, tenant);
        let fresh = self.fresh(&address(url, tenant), &name);
        let met = self.at_mut(url, tenant);
        *met = Met {
            key,
            known_as: fresh,
            moved_to: None,
        };
    }

    /// A name for who is met at `address` that is not `taken`, nor anybody's; `None` where the address will do.
    fn fresh(&self, address: &str, taken: &str) -> Option<String> {
        let is_free = |name: &str| {
            let mut others = self.0.values().filter_map(|met| met.known_as.as_deref());
            name != taken && others.all(|other| other != name)
        };
        let numbered = (2..).map(|n: u32| format!("{address} #{n}"));
        let mut names = std::iter::once(address.to_owned()).chain(numbered);
        names
            .find(|name| is_free(name))
            .filter(|name| name != address)
    }
}

/// Changes what is known of tenants; a crash leaves the old file or the new one.
pub(crate) fn keep<T>(
    workspace: &Workspace,
    change: impl FnOnce(&mut Known) -> T,
) -> Result<T, Error> {
    workspace.make_private()?;
    let private = workspace.private();
    let path = private.join(LOCK);
    let lock = || -> std::io::Result<File> {
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false);
        let file = options.mode(PRIVATE_FILE).open(&path)?;
        file.lock()?;
        Ok(file)
    };
    let _held = lock().context(WriteSnafu { path: &path })?;
    let mut known = Known::load(&private)?;
    let before = known.clone();
    let made = change(&mut known);
    if known != before {
        let path = private.join(FILE);
        let mut bytes = serde_json::to_vec_pretty(&known).unwrap_or_default();
        bytes.push(b'\n');
        let written = replace_as(&path, &bytes, Sync::Yes, PRIVATE_FILE);
        written.context(WriteSnafu { path })?;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use sync_store::identity::TenantIdentity;

    fn tenant() -> Name {
        "acme".parse().unwrap()
    }

    fn key() -> PublicKey {
        TenantIdentity::generate().unwrap().key.public_key()
    }

    #[test]
    fn what_is_remembered_stays_under_the_first_address() {
        let (tenant, key, mut known) = (tenant(), key(), Known::default());
        known.meet("https://a/", &tenant, Some(key));
        assert_eq!(known.key("https://a", &tenant), Some(key));
        assert_eq!(known.name("https://a", &tenant), "https://a acme");
        for [from, to] in [
            ["https://a", "https://b"],
            ["https://b", "https://c"],
            ["https://c", "https://a"],
            ["https://a", "https://c"],
        ] {
            known.follow(from, to, &tenant, key);
            assert_eq!(known.url(from, &tenant), to);
            assert_eq!(known.name(from, &tenant), "https://a acme");
        }
        assert_eq!(known.key("https://c", &tenant), Some(key));
        assert_eq!(known.url("https://b", &tenant), "https://c");
    }

    #[test]
    fn who_takes_the_place_of_one_who_left_is_not_taken_for_him() {
        let (tenant, key, mut known) = (tenant(), key(), Known::default());
        known.meet("https://a", &tenant, Some(key));
        known.carry("https://a", "https://b", &tenant, Some(key));
        assert_eq!(known.name("https://b", &tenant), "https://a acme");
        assert_eq!(known.name("https://a", &tenant), "https://a acme #2");
        // And back.
        known.carry("https://b", "https://a", &tenant, Some(key));
        assert_eq!(known.name("https://a", &tenant), "https://a acme");
        assert_ne!(known.name("https://b", &tenant), "https://a acme");

        known.trust("https://a", &tenant, Some(self::key()));
        assert_ne!(known.key("https://a", &tenant), Some(key));
        let name = known.name("https://a", &tenant);
        assert_ne!(name, "https://a acme");
        known.trust("https://a", &tenant, Some(key));
        assert_ne!(known.name("https://a", &tenant), name);
    }

    #[test]
    fn one_who_was_followed_is_carried_to_where_he_is() {
        let (tenant, key, mut known) = (tenant(), key(), Known::default());
        known.meet("https://a", &tenant, Some(key));
        known.follow("https://a", "https://b", &tenant, key);
        known.carry("https://a", "https://b", &tenant, Some(key));
        assert_eq!(known.name("https://b", &tenant), "https://a acme");
        assert_eq!(known.url("https://a", &tenant), "https://a");
        // To stay at an address is to forget where it leads.
        known.follow("https://b", "https://c", &tenant, key);
        known.carry("https://b", "https://b", &tenant, Some(key));
        assert_eq!(known.url("https://b", &tenant), "https://b");
        assert_eq!(known.name("https://b", &tenant), "https://a acme");
    }

    #[test]
    fn a_tenant_is_recognised_where_its_old_address_is_nobodys() {
        let (tenant, mut known) = (tenant(), Known::default());
        let first = TenantIdentity::generate().unwrap();
        known.meet("https://a", &tenant, Some(first.key.public_key()));
        let second = first.rotated().unwrap();
        let (key, chain) = (second.key.public_key(), &second.successions);
        let mut copied = known.clone();
        let both = ["https://a acme", "https://b acme"].map(str::to_owned);
        copied.recognise("https://b", &tenant, key, chain, &both.clone().into());
        assert_eq!(copied.name("https://b", &tenant), "https://b acme");
        let [_, new] = both;
        known.recognise("https://b", &tenant, key, chain, &[new].into());
        assert_eq!(known.name("https://b", &tenant), "https://a acme");
        assert_eq!(known.key("https://b", &tenant), Some(key));
    }

    #[test]
    fn the_file_is_its_owners_and_is_not_forgotten_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::of(dir.path(), crate::Config::default());
        keep(&workspace, |known| {
            known.meet("https://a", &tenant(), Some(key()));
        })
        .unwrap();
        let path = workspace.private().join(FILE);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(
            Known::load(&workspace.private())
                .unwrap()
                .is_met("https://a", &tenant())
        );
        fs::write(&path, "{").unwrap();
        assert!(matches!(keep(&workspace, |_| ()), Err(Error::State { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"{");
    }
}
