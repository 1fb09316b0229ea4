//! Names of files that hold secrets by custom: they stay where they are unless somebody says otherwise.

/// Whether a file of this name holds a secret by custom: private keys, key stores, `.env` files and `*.secrets.*`.
///
/// Templates of `.env` files, which are made to be shared, do not.
pub(crate) fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    let is = |names: &[&str]| names.contains(&name.as_str());
    let env = name == ".env" || name.starts_with(".env.");
    let template = ends(&[".example", ".sample", ".template"]);
    (env && !template)
        || name.contains(".secrets.")
        || ends(&[".key", ".p12", ".pfx", ".keystore", ".jks"])
        || is(&[
            "id_rsa",
            "id_dsa",
            "id_ecdsa",
            "id_ed25519",
            ".netrc",
            ".pgpass",
            ".git-credentials",
        ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            ".env",
            ".env.local",
            "dev.secrets.env",
            "server.key",
            "ID_RSA",
            "a.p12",
            ".netrc",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in [
            ".env.example",
            "env",
            "secrets.md",
            "keys.yaml",
            "id_rsa.pub",
            "monkey",
            "cert.pem",
        ] {
            assert!(!looks_secret(name), "{name}");
        }
    }
}
