//! What a peer's headers say, and addresses: nothing overflows, and what is taken is within its bounds.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use sync_transport::{Endpoint, RequestId, parse_retry_after};

fuzz_target!(|text: &str| {
    for now in [0, 1_700_000_000, u64::from(u32::MAX) * 60] {
        let _ = parse_retry_after(text, UNIX_EPOCH + Duration::from_secs(now));
    }
    if let Some(id) = RequestId::parse(text) {
        assert_eq!(id.as_str(), text);
        assert!(text.len() <= RequestId::MAX_BYTES);
    }
    match Endpoint::parse(text) {
        Ok(Endpoint::Http { host, port } | Endpoint::Https { host, port }) => {
            assert!(port > 0 && !host.is_empty() && !host.contains(['@', '/', '?', '#']));
        }
        Ok(_) => panic!("an address that is none"),
        // What may hold a password is not repeated.
        Err(error) => drop(error.to_string()),
    }
});
