//! Files with front matter: their parts are the file, and an edit says what was wanted and nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;

const KEYS: [&str; 4] = ["title", "description", "tags", "a: b"];
const VALUES: [&str; 6] = ["plain", "", "true", "two\nlines\n", "it's: \"so\" # not", "é\u{2028}- x"];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let choice = usize::from(*choice);
    let (key, value) = (KEYS[choice % KEYS.len()], VALUES[choice / KEYS.len() % VALUES.len()]);
    sync_local::fuzzing::page(text, key, value);
    sync_local::fuzzing::page(&format!("---\n{text}\n---\n"), key, value);
});
