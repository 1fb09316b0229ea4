//! What tenants and branches may be called: names that are safe in a URL, in a log line and as a file name.

use snafu::ensure;

use crate::Error;
use crate::error::NameSnafu;

/// The most bytes of a tenant's name.
const MAX_TENANT: usize = 64;
/// The most bytes of a branch's name.
const MAX_BRANCH: usize = 200;

/// One to 64 lower-case letters, digits, `-`, `_` and `.`, the first a letter or a digit.
pub(crate) fn check_tenant(name: &str) -> Result<(), Error> {
    check_length("tenant", name, MAX_TENANT)?;
    let lower = |byte: &u8| !byte.is_ascii_uppercase();
    ensure!(
        name.as_bytes().iter().all(lower),
        refusal("tenant", name, "it has upper-case letters")
    );
    check_component("tenant", name)
}

/// Components of letters, digits, `-`, `_` and `.`, each starting with a letter or a digit, between single slashes.
pub(crate) fn check_branch(name: &str) -> Result<(), Error> {
    check_length("branch", name, MAX_BRANCH)?;
    name.split('/')
        .try_for_each(|component| check_component("branch", component))
}

fn check_length(kind: &'static str, name: &str, max: usize) -> Result<(), Error> {
    ensure!(!name.is_empty(), refusal(kind, name, "it is empty"));
    ensure!(name.len() <= max, refusal(kind, name, "it is too long"));
    Ok(())
}

fn check_component(kind: &'static str, name: &str) -> Result<(), Error> {
    let first = name.bytes().next();
    ensure!(
        first.is_some_and(|byte| byte.is_ascii_alphanumeric()),
        refusal(kind, name, "it does not start with a letter or a digit")
    );
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    ensure!(
        name.bytes().all(plain),
        refusal(
            kind,
            name,
            "it has other characters than letters, digits, `-`, `_` and `.`"
        )
    );
    Ok(())
}

fn refusal(
    kind: &'static str,
    name: &str,
    reason: &'static str,
) -> NameSnafu<&'static str, String, &'static str> {
    // Printed where people read it: no control characters, and not a megabyte.
    let name = name.chars().take(MAX_TENANT).flat_map(char::escape_default);
    NameSnafu {
        kind,
        name: name.collect(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, tenant: bool, branch: bool) {
        assert_eq!(check_tenant(name).is_ok(), tenant, "tenant {name:?}");
        assert_eq!(check_branch(name).is_ok(), branch, "branch {name:?}");
    }

    #[test]
    fn names_are_plain() {
        check("acme", true, true);
        check("a-1_b.c", true, true);
        check("Main", false, true);
        check("feature/one", false, true);
        check("", false, false);
        check("a//b", false, false);
        check("/a", false, false);
        check("a/", false, false);
        check("a/../b", false, false);
        check(".a", false, false);
        check("-a", false, false);
        check("a b", false, false);
        check("a\n", false, false);
        check("ü", false, false);
        check("a%2f", false, false);
        check(&"a".repeat(64), true, true);
        check(&"a".repeat(65), false, true);
        check(&"a".repeat(201), false, false);
    }
}
