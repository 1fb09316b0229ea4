//! Who a tenant is to a workspace: the key that it was first met with, and where it has moved to (ADR 19).
//!
//! A tenant is known by its key, not by its address: what was agreed on with it is found again wherever it lives.

mod known;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::StatusCode;
use http::header::HeaderMap;
use snafu::{OptionExt, ensure};
use sync_core::{Digest, Name};
use sync_store::PublicKey;
use sync_store::identity::{Introduction, Moved, Succession};
use sync_store::protocol::{IDENTITY_HEADER, routes};
use sync_transport::Client;

use crate::config::{Location, RemoteConfig};
use crate::error::{AnswerSnafu, OtherTenantSnafu};
use crate::remote::Remote;
use crate::{Error, Workspace};

pub(crate) use known::{Known, keep};

/// Makes a client of the server at an address, where the tenant is to be met that said itself that it lives there.
pub type Dial = Arc<dyn Fn(&str) -> Result<Client, Error> + Send + Sync>;
/// Is told the address that a tenant was followed to.
pub type Followed = Arc<dyn Fn(&str) + Send + Sync>;

/// Watches over one way to a tenant: that it is who it was, and where it goes.
pub struct Trust {
    workspace: Workspace,
    tenant: Name,
    url: String,
    /// A tenant in a directory of this machine is who it is by its place: whoever has that is its operator.
    is_by_place: bool,
    dial: Dial,
    followed: Followed,
    /// Who it is, once that was read.
    key: Mutex<Option<PublicKey>>,
    /// Where it was found to live, once it said so.
    elsewhere: OnceLock<(String, Client)>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("tenant", &self.tenant)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Trust {
    /// Watches over the way from `workspace` to `remote`, which [`Workspace::remote`] gave.
    /// `dial` makes the way to where it has moved to; `followed` is told once it was found there.
    ///
    /// # Errors
    ///
    /// [`Error::State`] where what is known of tenants does not read.
    pub fn new(
        workspace: &Workspace,
        remote: &RemoteConfig,
        dial: Dial,
        followed: Followed,
    ) -> Result<Arc<Self>, Error> {
        let key = Known::load(&workspace.private())?.key(&remote.url, &remote.tenant);
        let is_by_place = matches!(remote.location(workspace.root())?, Location::Embedded(_));
        Ok(Arc::new(Self {
            workspace: workspace.clone(),
            tenant: remote.tenant.clone(),
            url: remote.url.clone(),
            is_by_place,
            dial,
            followed,
            key: Mutex::new(key.filter(|_| !is_by_place)),
            elsewhere: OnceLock::new(),
        }))
    }

    /// The way to where the tenant was followed to.
    pub(crate) fn elsewhere(&self) -> Option<&Client> {
        let (_, client) = self.elsewhere.get()?;
        Some(client)
    }

    /// Where the tenant is talked to.
    fn url(&self) -> &str {
        self.elsewhere.get().map_or(&self.url, |(url, _)| url)
    }

    fn key(&self) -> Option<PublicKey> {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_key(&self, key: PublicKey) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// Refuses an answer of somebody else. The first one of a tenant is followed by a request for proof, as is one with another
    /// key, which the known one may have vouched for.
    ///
    /// # Errors
    ///
    /// [`Error::OtherTenant`]; [`Error::Answer`] where whoever answered does not have the key that he names.
    pub(crate) async fn check(
        &self,
        remote: &Remote,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), Error> {
        if self.is_by_place && self.elsewhere.get().is_none() {
            return Ok(());
        }
        let named = headers.get(IDENTITY_HEADER);
        let named: Option<PublicKey> = named.and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(key) = named else {
            // A refusal names nobody.
            let is_answer = status.is_success() || status == StatusCode::NOT_MODIFIED;
            return match self.key() {
                Some(known) if is_answer => self.other(known, None).fail(),
                _ => Ok(()),
            };
        };
        if self.key() == Some(key) {
            return Ok(());
        }
        let found = ask(remote.client(), &self.tenant).await?;
        ensure!(
            found.key == Some(key),
            AnswerSnafu {
                reason: "it names a key that it does not have",
            }
        );
        if let Some(known) = self.key() {
            let is_same = Succession::leads(&found.successions, known, key);
            ensure!(is_same, self.other(known, Some(key)));
        }
        keep(&self.workspace, |known| {
            known.meet(self.url(), &self.tenant, Some(key));
        })?;
        self.set_key(key);
        Ok(())
    }

    /// Finds out who is there before anything is asked of him, where nobody was met there and somebody was met at an address
    /// that `sync.toml` no longer has: what was agreed on with him is found again.
    ///
    /// # Errors
    ///
    /// As [`ask`].
    pub async fn recognise(&self, client: &Client) -> Result<(), Error> {
        let known = Known::load(&self.workspace.private())?;
        let is_new = !self.is_by_place && !known.is_met(&self.url, &self.tenant);
        if !is_new || !known.has_lost(&self.workspace.named(&known)) {
            return Ok(());
        }
        let found = ask(client, &self.tenant).await?;
        let Some(key) = found.key else {
            // He is not asked again.
            return keep(&self.workspace, |known| {
                known.meet(&self.url, &self.tenant, None);
            });
        };
        keep(&self.workspace, |known| {
            let named = self.workspace.named(known);
            known.recognise(&self.url, &self.tenant, key, &found.successions, &named);
        })?;
        self.set_key(key);
        Ok(())
    }

    fn other(
        &self,
        known: PublicKey,
        found: Option<PublicKey>,
    ) -> OtherTenantSnafu<String, String, String> {
        other(self.url(), &self.tenant, known, found)
    }

    /// Follows the tenant to where it says that it lives, once; says whether it is there.
    ///
    /// # Errors
    ///
    /// [`Error::Answer`] where the pointer is not by the tenant that is known here, [`Error::OtherTenant`] where somebody else is
    /// at the new address. Nothing is remembered then.
    pub(crate) async fn follow(&self, moved: &Moved) -> Result<bool, Error> {
        let said = &moved.statement;
        if self.elsewhere.get().is_some() || said.url == self.url {
            return Ok(false);
        }
        let known = self.key().unwrap_or(said.key);
        // Who was never met is believed as he would be in any first answer.
        let is_known = Succession::leads(&moved.successions, known, said.key);
        ensure!(
            is_known && moved.verify().is_ok() && said.tenant == self.tenant.as_str(),
            AnswerSnafu {
                reason: "it says that the tenant has moved, and the tenant that is known here has not said so",
            }
        );
        let client = (self.dial)(&said.url)?;
        let found = ask(&client, &self.tenant).await?;
        let leads = |key| Succession::leads(&found.successions, said.key, key);
        ensure!(
            found.key.is_some_and(leads),
            other(&said.url, &self.tenant, said.key, found.key)
        );
        let key = found.key.unwrap_or(said.key);
        keep(&self.workspace, |known| {
            known.follow(&self.url, &said.url, &self.tenant, key);
        })?;
        self.set_key(key);
        let _ = self.elsewhere.set((said.url.clone(), client));
        (self.followed)(&said.url);
        Ok(true)
    }
}

impl Workspace {
    /// The addresses of tenants that `sync.toml` leads to.
    fn named(&self, known: &Known) -> BTreeSet<String> {
        let remotes = self.config().remotes();
        let lead = remotes.flat_map(|(_, remote)| known.path(&remote.url, &remote.tenant));
        lead.collect()
    }

    /// Who the tenant is that `remote` means, where it was met.
    ///
    /// # Errors
    ///
    /// [`Error::State`] where what is known of tenants does not read.
    pub fn key_known(&self, remote: &RemoteConfig) -> Result<Option<PublicKey>, Error> {
        let known = Known::load(&self.private())?;
        let url = known.url(&remote.url, &remote.tenant);
        Ok(known.key(&url, &remote.tenant))
    }

    /// The keys of all tenants that the workspace has met, by url and tenant.
    ///
    /// # Errors
    ///
    /// [`Error::State`] where what is remembered does not read.
    pub fn keys_met(&self) -> Result<Vec<(String, PublicKey)>, Error> {
        Ok(Known::load(&self.private())?.keys())
    }

    /// Refuses to take the tenant that introduced itself at `to` for the one that `from` means, where that was met and is
    /// another.
    ///
    /// # Errors
    ///
    /// [`Error::OtherTenant`] with both.
    pub fn ensure_same(
        from: Option<PublicKey>,
        to: &RemoteConfig,
        found: &Introduction,
    ) -> Result<(), Error> {
        let Some(known) = from else {
            return Ok(());
        };
        let leads = |key| Succession::leads(&found.successions, known, key);
        ensure!(
            found.key.is_some_and(leads),
            other(&to.url, &to.tenant, known, found.key)
        );
        Ok(())
    }

    /// Takes whoever introduced himself as the tenant of `remote` for it from now on. What was agreed on with who was there
    /// before says nothing about him: the next sync takes workspace and tenant for two that never met.
    ///
    /// # Errors
    ///
    /// Where it cannot be written down.
    pub fn trust(&self, remote: &RemoteConfig, found: &Introduction) -> Result<(), Error> {
        keep(self, |known| {
            known.trust(&remote.url, &remote.tenant, found.key);
        })
    }
}

/// Asks whoever is at the other end of `client` who `tenant` is there, and has him prove it.
///
/// # Errors
///
/// [`Error::Answer`] where he does not have the key that he names.
pub async fn ask(client: &Client, tenant: &Name) -> Result<Introduction, Error> {
    let mut nonce = [0; Digest::LEN];
    let filled = getrandom::fill(&mut nonce);
    filled.ok().context(AnswerSnafu {
        reason: "the operating system gave no randomness to ask with",
    })?;
    // It is written as digests are.
    let hex = Digest::from_bytes(nonce);
    let path = format!("{}?nonce={hex}", routes::identity(tenant.as_str()));
    let found = Remote::introduction(client, path).await?;
    ensure!(
        found.verify(&nonce).is_ok(),
        AnswerSnafu {
            reason: "it names a key that it does not have",
        }
    );
    Ok(found)
}

/// Refuses to take `found` for the tenant that `known` is.
fn other(
    url: &str,
    tenant: &Name,
    known: PublicKey,
    found: Option<PublicKey>,
) -> OtherTenantSnafu<String, String, String> {
    let found = found.map_or_else(|| "nobody who has a key".to_owned(), |key| key.to_string());
    OtherTenantSnafu {
        place: format!("{tenant} at {url}"),
        known: known.to_string(),
        found,
    }
}
