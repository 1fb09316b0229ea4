//! A registry of images, by the Docker Registry HTTP API V2 (now the OCI Distribution Specification).
//!
//! Questions alone: what is sent, `docker push` sends. A registry on loopback is asked over plain HTTP, as the engine does it,
//! every other one over TLS.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use data_encoding::BASE64;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use snafu::{OptionExt, ensure};
use sync_transport::{Body, Call, Client, ClientOptions, ClientTls, Endpoint};
use tokio::sync::Mutex;

use crate::config::Repository;
use crate::error::{RefusedSnafu, RegistrySnafu};
use crate::{Error, Login};

/// The longest manifest, list or configuration that is read.
const MAX_ANSWER: usize = 4 << 20;
/// What a manifest may come as.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// One repository of a registry.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    repository: Repository,
    login: Option<Login>,
    /// What the registry has let us in with.
    entry: Mutex<Option<HeaderValue>>,
}

/// An image as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What its manifest is named by, `sha256:…`.
    pub digest: String,
    /// Its layers as they are stored, by what they are unpacked, in order.
    pub layers: Vec<(String, String)>,
    /// What its maker said about it.
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    /// Of an index: one for each platform.
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
}

#[derive(Deserialize)]
struct Configuration {
    rootfs: RootFs,
    #[serde(default)]
    config: Inner,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Inner {
    #[serde(default, rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl Registry {
    /// A repository, asked as `login`, or as anybody.
    ///
    /// # Errors
    ///
    /// Where the address is not valid, or this machine's certificates cannot be read.
    pub fn new(repository: Repository, login: Option<Login>) -> Result<Self, Error> {
        let client = client_of(&repository.registry)?;
        Ok(Self::with(client, repository, login))
    }

    /// The same by a client of one's own, which has no token.
    pub fn with(client: Client, repository: Repository, login: Option<Login>) -> Self {
        Self {
            client,
            repository,
            login,
            entry: Mutex::new(None),
        }
    }

    /// Whether it answers, and lets us in.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`], [`Error::Registry`] where what answers is no registry, and those of the network.
    pub async fn greet(&self) -> Result<(), Error> {
        let answer = self.send(Method::GET, "/v2/".to_owned(), "").await?;
        let status = answer.status();
        ensure!(
            status == StatusCode::OK,
            self.odd(format!("answers {status}: is it one?"))
        );
        Ok(())
    }

    /// The image of a tag or digest; `None` where there is none.
    ///
    /// # Errors
    ///
    /// As [`Registry::greet`], and where the answer is not understood.
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, Error> {
        let Some((digest, mut manifest)) = self.manifest(reference).await? else {
            return Ok(None);
        };
        // Some platforms of an index are none: what says how an image was made.
        let real = |one: &&Descriptor| one.platform.as_ref().is_none_or(|of| of.os != "unknown");
        if let Some(first) = manifest.manifests.iter().find(real) {
            let found = self.manifest(&first.digest).await?;
            manifest = found
                .context(self.odd("names a manifest that it does not have".to_owned()))?
                .1;
        }
        let config = manifest
            .config
            .context(self.odd("has no configuration for the image".to_owned()))?;
        let path = self.path(&format!("blobs/{}", config.digest));
        let answer = self.send(Method::GET, path, "").await?;
        let status = answer.status();
        ensure!(
            status == StatusCode::OK,
            self.odd(format!(
                "answers {status} for the configuration of the image"
            ))
        );
        let config: Configuration = self.read(answer).await?;
        let diffs = config.rootfs.diff_ids.into_iter();
        let layers = manifest.layers.into_iter().map(|layer| layer.digest);
        Ok(Some(Image {
            digest,
            layers: diffs.zip(layers).collect(),
            labels: config.config.labels.unwrap_or_default(),
        }))
    }

    async fn manifest(&self, reference: &str) -> Result<Option<(String, Manifest)>, Error> {
        let path = self.path(&format!("manifests/{reference}"));
        let answer = self.send(Method::GET, path, MANIFESTS).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let status = answer.status();
        ensure!(
            status == StatusCode::OK,
            self.odd(format!("answers {status} for `{reference}`"))
        );
        let digest = answer.headers().get("docker-content-digest");
        let digest = digest
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let digest = digest.or_else(|| {
            reference
                .starts_with("sha256:")
                .then(|| reference.to_owned())
        });
        let digest = digest.context(self.odd("does not say the digest of the image".to_owned()))?;
        Ok(Some((digest, self.read(answer).await?)))
    }

    /// Whether it has a layer.
    ///
    /// # Errors
    ///
    /// As [`Registry::greet`].
    pub async fn has_layer(&self, digest: &str) -> Result<bool, Error> {
        let path = self.path(&format!("blobs/{digest}"));
        let answer = self.send(Method::HEAD, path, "").await?;
        // A registry that keeps its layers elsewhere says where.
        Ok(answer.status().is_success() || answer.status().is_redirection())
    }

    /// The tags of the repository, in no order; none where it is not there yet.
    ///
    /// # Errors
    ///
    /// As [`Registry::greet`].
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        let answer = self
            .send(Method::GET, self.path("tags/list?n=10000"), "")
            .await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        let status = answer.status();
        ensure!(
            status == StatusCode::OK,
            self.odd(format!("answers {status} for its tags"))
        );
        let tags: Tags = self.read(answer).await?;
        Ok(tags.tags.unwrap_or_default())
    }

    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository.path)
    }

    fn odd(&self, trouble: String) -> RegistrySnafu<String, String> {
        RegistrySnafu {
            registry: self.repository.registry.clone(),
            trouble,
        }
    }

    /// Sends one question, and once more with what the registry asks for.
    async fn send(
        &self,
        method: Method,
        path: String,
        accept: &'static str,
    ) -> Result<Response<Body>, Error> {
        let call = |entry: Option<HeaderValue>| {
            let mut call = Call::new(method.clone(), path.clone());
            if !accept.is_empty() {
                call = call.header(ACCEPT, HeaderValue::from_static(accept));
            }
            match entry {
                Some(entry) => call.header(AUTHORIZATION, entry),
                None => call,
            }
        };
        let entry = self.entry.lock().await.clone();
        let answer = self.client.send(call(entry)).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return self.allowed(answer);
        }
        let challenge = Challenge::read(answer.headers());
        let challenge = challenge.context(self.odd("does not say how to log in".to_owned()))?;
        let entry = self.enter(&challenge).await?;
        *self.entry.lock().await = Some(entry.clone());
        let answer = self.client.send(call(Some(entry))).await?;
        self.allowed(answer)
    }

    fn allowed(&self, answer: Response<Body>) -> Result<Response<Body>, Error> {
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        let registry = &self.repository.registry;
        ensure!(
            !refused.contains(&answer.status()),
            RefusedSnafu { registry }
        );
        Ok(answer)
    }

    /// What lets us in.
    async fn enter(&self, challenge: &Challenge) -> Result<HeaderValue, Error> {
        let registry = &self.repository.registry;
        let basic = self.login.as_ref().map(|login| {
            let text = format!("{}:{}", login.username, login.password.expose());
            format!("Basic {}", BASE64.encode(text.as_bytes()))
        });
        let text = match challenge {
            Challenge::Basic => basic.context(RefusedSnafu { registry })?,
            Challenge::Bearer { realm, query } => {
                let (origin, path) = split_url(realm);
                let client = client_of_origin(origin)?;
                let separator = if path.contains('?') { '&' } else { '?' };
                let mut call = Call::get(format!("{path}{separator}{query}"));
                if let Some(basic) = basic {
                    call = call.header(AUTHORIZATION, sensitive(&basic, registry)?);
                }
                let answer = self.allowed(client.send(call).await?)?;
                let token: Token = self.read(answer).await?;
                let token = token.token.or(token.access_token);
                format!("Bearer {}", token.context(RefusedSnafu { registry })?)
            }
        };
        sensitive(&text, registry)
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        answer: Response<Body>,
    ) -> Result<T, Error> {
        let bytes = answer.into_body().read_to_end(MAX_ANSWER).await?;
        let read = serde_json::from_slice(&bytes).ok();
        read.context(self.odd("says something that is not understood".to_owned()))
    }
}

fn sensitive(text: &str, registry: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text)
        .ok()
        .context(RefusedSnafu { registry })?;
    value.set_sensitive(true);
    Ok(value)
}

fn client_of(registry: &str) -> Result<Client, Error> {
    let plain = Endpoint::parse(&format!("http://{registry}"))?;
    if is_loopback(&plain) {
        return Ok(Client::new(plain, None, None, ClientOptions::default()));
    }
    client_of_origin(&format!("https://{registry}"))
}

/// A client for an address that gets credentials: plain HTTP only where they stay on this machine.
fn client_of_origin(origin: &str) -> Result<Client, Error> {
    let endpoint = Endpoint::parse(origin)?;
    let tls = match &endpoint {
        Endpoint::Https { .. } => Some(ClientTls::new(None)?),
        _ => None,
    };
    let trouble = "would get the password in the clear";
    ensure!(
        tls.is_some() || is_loopback(&endpoint),
        RegistrySnafu {
            registry: origin,
            trouble
        }
    );
    Ok(Client::new(endpoint, tls, None, ClientOptions::default()))
}

/// Whether it is this machine itself.
fn is_loopback(endpoint: &Endpoint) -> bool {
    let (Endpoint::Http { host, .. } | Endpoint::Https { host, .. }) = endpoint else {
        return false;
    };
    let ip: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
}

/// `https://host` and `/path?query` of a URL.
fn split_url(url: &str) -> (&str, &str) {
    let from = url.find("://").map_or(0, |at| at + 3);
    let path = url[from..].find('/').map_or(url.len(), |at| from + at);
    let (origin, rest) = url.split_at(path);
    (origin, if rest.is_empty() { "/" } else { rest })
}

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, query: String },
}

impl Challenge {
    /// The first one that is known (RFC 9110, section 11.6.1).
    fn read(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .find_map(Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut realm = None;
        let mut query = Vec::new();
        let mut rest = rest;
        while let Some((name, after)) = rest.split_once("=\"") {
            let (value, next) = after.split_once('"')?;
            let name = name.trim_matches([',', ' ']);
            match name {
                "realm" => realm = Some(value.to_owned()),
                "service" | "scope" => query.push(format!("{name}={}", escaped(value))),
                _ => {}
            }
            rest = next;
        }
        Some(Self::Bearer {
            realm: realm?,
            query: query.join("&"),
        })
    }
}

/// A value in a query.
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let text = r#"Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.example.com/token".to_owned(),
            query: "service=registry&scope=repository:a/b:pull,push".to_owned(),
        };
        assert_eq!(Challenge::parse(text), Some(expected));
        assert_eq!(
            Challenge::parse(r#"basic realm="x""#),
            Some(Challenge::Basic)
        );
        assert_eq!(Challenge::parse(r#"Bearer service="x""#), None);
        assert_eq!(Challenge::parse("Negotiate"), None);
        assert_eq!(split_url("https://a:1/t?x=y"), ("https://a:1", "/t?x=y"));
        assert_eq!(split_url("https://a"), ("https://a", "/"));
        assert_eq!(escaped("a b&c"), "a%20b%26c");
    }

    #[test]
    fn a_password_does_not_travel_in_the_clear() {
        for registry in ["127.0.0.1:5000", "localhost:5000", "[::1]:5000"] {
            assert!(matches!(
                client_of(registry).unwrap().endpoint(),
                Endpoint::Http { .. }
            ));
        }
        assert!(matches!(
            client_of("r.example.com").unwrap().endpoint(),
            Endpoint::Https { .. }
        ));
        assert!(client_of_origin("http://auth.example.com").is_err());
    }
}
