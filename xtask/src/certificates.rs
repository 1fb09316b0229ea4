//! Certificates for servers that live for the length of a test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use snafu::ResultExt as _;

use crate::error::{IoSnafu, Result, UnexpectedSnafu};

/// Where the files of one authority and of the server that it vouches for are.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    /// The authority, for clients.
    pub(crate) authority: PathBuf,
    /// The server's certificate.
    pub(crate) certificate: PathBuf,
    /// The server's private key.
    pub(crate) key: PathBuf,
}

/// Makes an authority and a certificate for `localhost` and 127.0.0.1, as PEM files in a directory.
pub(crate) fn make(directory: &Path) -> Result<Certificates> {
    let pem = generate().map_err(|error| {
        UnexpectedSnafu {
            what: format!("could not make certificates: {error}"),
        }
        .build()
    })?;
    let paths = Certificates {
        authority: directory.join("ca.pem"),
        certificate: directory.join("server.pem"),
        key: directory.join("server.key"),
    };
    for (path, text) in [
        (&paths.authority, &pem.authority),
        (&paths.certificate, &pem.certificate),
        (&paths.key, &pem.key),
    ] {
        fs::write(path, text).context(IoSnafu {
            action: format!("write `{}`", path.display()),
        })?;
    }
    Ok(paths)
}

struct Pem {
    authority: String,
    certificate: String,
    key: String,
}

fn generate() -> Result<Pem, rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "an authority of one test");
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let server_key = KeyPair::generate()?;
    Ok(Pem {
        authority: authority_pem,
        certificate: server.signed_by(&server_key, &issuer)?.pem(),
        key: server_key.serialize_pem(),
    })
}
