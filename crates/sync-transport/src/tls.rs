//! Whom a client trusts, and what a server shows.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig};

use crate::error::{BoxError, Error, TlsTrouble};

const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Whom a client trusts; cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Trusts the authorities in a PEM file, and no others; without a file, those of this machine.
    ///
    /// Reads files: call it where blocking is fine.
    ///
    /// # Errors
    ///
    /// [`Error::Certificates`] where the file cannot be read or holds no certificate, or where the machine has none.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, Error> {
        if let Some(path) = ca_file {
            let what = format!("the certificate authorities in `{}`", path.display());
            let pem = std::fs::read(path).map_err(|error| refused(&what, error))?;
            return Self::trusting(&pem, &what);
        }
        let what = "this machine's certificate authorities";
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some machines have old certificates that no longer parse; the others are enough.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            return Err(match found.errors.into_iter().next() {
                Some(error) => refused(what, error),
                None => refused(what, "there are none"),
            });
        }
        Self::with_roots(roots, what)
    }

    /// Trusts the authorities in PEM text, and no others.
    ///
    /// # Errors
    ///
    /// [`Error::Certificates`] where there is no certificate in it, or one that cannot be used.
    pub fn from_pem(ca: &[u8]) -> Result<Self, Error> {
        Self::trusting(ca, "the given certificate authorities")
    }

    fn trusting(pem: &[u8], what: &str) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, what)? {
            roots
                .add(certificate)
                .map_err(|error| refused(what, error))?;
        }
        Self::with_roots(roots, what)
    }

    fn with_roots(roots: RootCertStore, what: &str) -> Result<Self, Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(what, error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// The configuration that offers HTTP/2 or does not.
    pub(crate) fn config(&self, http2: bool) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = protocols(http2);
        Arc::new(config)
    }
}

/// What a server shows; cheap to clone.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// A certificate chain, the server's own first, and its key, both PEM.
    ///
    /// # Errors
    ///
    /// [`Error::Certificates`] where either holds nothing usable, or they do not belong together.
    pub fn from_pem(certificate_chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        Self::new(certificate_chain, key, "the certificate and key")
    }

    /// The same from files. Reads files: call it where blocking is fine.
    ///
    /// # Errors
    ///
    /// Those of [`ServerTls::from_pem`], and where a file cannot be read.
    pub fn from_files(certificate_chain: &Path, key: &Path) -> Result<Self, Error> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| refused(&format!("`{}`", path.display()), error))
        };
        let (chain, secret) = (read(certificate_chain)?, read(key)?);
        let what = format!(
            "the certificate in `{}` with the key in `{}`",
            certificate_chain.display(),
            key.display()
        );
        Self::new(&chain, &secret, &what)
    }

    fn new(chain: &[u8], key: &[u8], what: &str) -> Result<Self, Error> {
        let chain = certificates(chain, what)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| refused(what, error))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(what, error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| refused(what, error))?;
        config.alpn_protocols = protocols(true);
        Ok(Self {
            config: Arc::new(config),
        })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// The one provider of ours, named here and never the process default: another crate may set that.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn protocols(http2: bool) -> Vec<Vec<u8>> {
    let mut protocols = Vec::with_capacity(2);
    if http2 {
        protocols.push(H2.to_vec());
    }
    protocols.push(HTTP_1_1.to_vec());
    protocols
}

/// Whether the handshake ended in HTTP/2.
pub(crate) fn is_h2(alpn: Option<&[u8]>) -> bool {
    alpn == Some(H2)
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(what, error))?;
    if certificates.is_empty() {
        return Err(refused(what, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn refused(what: &str, source: impl Into<BoxError>) -> Error {
    Error::Certificates {
        what: what.to_owned(),
        source: source.into(),
    }
}

/// What kind of failure a handshake's error is; `None` where the connection broke, which TLS has no part in.
pub(crate) fn trouble(error: &io::Error) -> Option<TlsTrouble> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let error = match error {
        rustls::Error::InvalidCertificate(error) => error,
        // What one side sent is not what the other received, and the handshake is there to notice.
        rustls::Error::DecryptError
        | rustls::Error::PeerMisbehaved(_)
        | rustls::Error::AlertReceived(
            AlertDescription::BadRecordMac
            | AlertDescription::DecryptError
            | AlertDescription::DecodeError
            | AlertDescription::IllegalParameter
            | AlertDescription::UnexpectedMessage,
        ) => return Some(TlsTrouble::Damaged),
        _ => return Some(TlsTrouble::Other),
    };
    Some(match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsTrouble::WrongName
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsTrouble::Expired,
        // A certificate that is broken, revoked or signed in a way that proves nothing is no ground for trust.
        _ => TlsTrouble::Untrusted,
    })
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}
