//! What the fuzz target of files that people edit reaches and nobody else.
//!
//! It exists only where `cargo fuzz` builds, which sets `cfg(fuzzing)`.

use crate::frame::split;
use crate::yaml::{Wanted, parse, set};

/// Takes a file apart, gives a key of its front matter a value and takes it out again. Panics where a law is broken: the parts
/// are the file; what was set is what is read, and setting it again changes nothing; what was taken out is not there.
pub fn page(text: &str, key: &str, value: &str) {
    let Ok(parts) = split(text) else {
        return;
    };
    assert_eq!([parts.head, parts.body, parts.tail].concat(), text);
    let front = parts.front();
    assert_eq!(parts.with(front, parts.body), text);
    for yaml in [front, text] {
        let _ = parse(yaml);
        let wanted = Some(Wanted::Text(value));
        let Ok(edited) = set(yaml, &[], key, wanted) else {
            continue;
        };
        let read = parse(&edited).expect("what was edited reads");
        let found = read.as_ref().and_then(|root| root.get(key));
        assert_eq!(found.and_then(|found| found.text()), Some(value));
        assert_eq!(set(&edited, &[], key, wanted).ok().as_ref(), Some(&edited));
        if let Ok(without) = set(&edited, &[], key, None) {
            let read = parse(&without).expect("what is left reads");
            assert!(read.is_none_or(|root| root.get(key).is_none()));
        }
    }
}
