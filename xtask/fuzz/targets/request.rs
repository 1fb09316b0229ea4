//! What comes with a request before anybody is known: a path, a query, a form, tokens.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use sync_server::{auth, fuzzing, route};

fuzz_target!(|text: &str| {
    let (path, rest) = text.split_once('\n').unwrap_or((text, text));
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
        let _ = route::route(&method, path);
    }
    for key in ["from", "limit", "tenant", "branch"] {
        if let Some(value) = route::query(Some(rest), key) {
            assert!(rest.contains(value));
        }
    }
    if let Some((id, _)) = auth::parse(rest) {
        assert!(!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
    fuzzing::request(path, rest);
});
