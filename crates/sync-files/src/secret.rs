//! Files that hold secrets, by their names or by what is in them: they stay where they are unless somebody says otherwise.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

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

/// A kind of secret that has a form of its own: what it begins with, and what has to follow.
type Form = (&'static str, fn(&[u8]) -> bool);

/// Private keys as PEM, and tokens that their issuers made recognisable for this purpose.
const FORMS: [Form; 11] = [
    ("-----BEGIN ", is_private_key),
    ("ghp_", |rest| run(rest, is_alphanumeric) >= 36),
    ("gho_", |rest| run(rest, is_alphanumeric) >= 36),
    ("ghs_", |rest| run(rest, is_alphanumeric) >= 36),
    ("github_pat_", |rest| run(rest, is_alphanumeric) >= 22),
    ("glpat-", |rest| run(rest, is_word) >= 20),
    ("AKIA", is_aws_key),
    ("xoxb-", |rest| {
        run(rest, |byte| byte.is_ascii_digit()) >= 10
    }),
    ("xoxp-", |rest| {
        run(rest, |byte| byte.is_ascii_digit()) >= 10
    }),
    ("sk_live_", |rest| run(rest, is_alphanumeric) >= 24),
    ("sync_", is_own_token),
];

/// Finds where one of the forms may begin.
///
/// Only a leftmost search skips ahead by vector instructions: any other walks byte by byte, at a tenth of the speed of the
/// hash that is made of the same bytes.
static BEGINNINGS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let mut builder = AhoCorasick::builder();
    builder.match_kind(MatchKind::LeftmostFirst);
    builder.build(FORMS.map(|(beginning, _)| beginning)).ok()
});

/// Whether part of a file shows a private key or a token of a known form.
pub(crate) fn shows_secret(bytes: &[u8]) -> bool {
    let Some(beginnings) = &*BEGINNINGS else {
        return false;
    };
    beginnings.find_iter(bytes).any(|found| {
        // In the middle of a word it is something else.
        let alone = found.start() == 0 || !is_word(bytes[found.start() - 1]);
        let (_, follows) = FORMS[found.pattern().as_usize()];
        alone && follows(&bytes[found.end()..])
    })
}

fn run(bytes: &[u8], is_part: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_part(**byte)).count()
}

const fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// `-----BEGIN EC PRIVATE KEY-----`, and a line of the key itself: text about keys has only the first.
fn is_private_key(rest: &[u8]) -> bool {
    const END: &[u8] = b"PRIVATE KEY-----";
    let line = run(rest, |byte| byte != b'\n' && byte != b'\r');
    let (first, below) = rest.split_at(line);
    let body = below.iter().skip_while(|byte| byte.is_ascii_whitespace());
    let body = body.take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte));
    first.ends_with(END) && body.count() >= 32
}

/// The one of every documentation ends in `EXAMPLE`.
fn is_aws_key(rest: &[u8]) -> bool {
    let len = run(rest, |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit()
    });
    len == 16 && !rest[..len].ends_with(b"EXAMPLE")
}

/// `sync_`, an id, `_`, a secret.
fn is_own_token(rest: &[u8]) -> bool {
    let id = run(rest, is_alphanumeric);
    let secret = rest.get(id + 1..).unwrap_or_default();
    id >= 8 && rest.get(id) == Some(&b'_') && run(secret, is_alphanumeric) >= 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: bool) {
        assert_eq!(shows_secret(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn forms_of_secrets() {
        // Put together here, so that this file shows none itself.
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
        let key = |kind: &str| format!("a: |\n-----BEGIN {kind}KEY-----\n{line}\n");
        check(&key("PRIVATE "), true);
        check(&key("OPENSSH PRIVATE ").replace('\n', "\r\n"), true);
        check(&key("PUBLIC "), false);
        check("It begins with `-----BEGIN PRIVATE KEY-----`.", false);
        check("-----BEGIN PRIVATE KEY-----\n...\n", false);
        let word = "0123456789abcdef0123456789abcdef0123456789";
        for beginning in ["ghp_", "github_pat_", "glpat-", "sk_live_", "xoxb-"] {
            check(&format!("token: {beginning}{word}"), true);
            check(&format!("token: my{beginning}{word}"), false);
            check(&format!("token: {beginning}..."), false);
        }
        check(&format!("sync_{}_{word}", &word[..16]), true);
        check(
            "run sync_files_and_rows_of_every_tenant_that_there_is",
            false,
        );
        check(&format!("AKIA{}", "Q7".repeat(8)), true);
        check(&format!("AKIA{}EXAMPLE", "IOSFODNN7"), false);
        check("", false);
    }

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
