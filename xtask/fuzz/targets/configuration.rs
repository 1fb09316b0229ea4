//! What a workspace's own files say: `sync.toml`, the state, patterns, the case of names.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sync_core::{Name, TreePath};
use sync_engine::{Config, MaxDelete, Patterns};
use tempfile::TempDir;

static DESK: LazyLock<Option<TempDir>> = LazyLock::new(|| tempfile::tempdir().ok());

fuzz_target!(|text: &str| {
    let desk = DESK
        .as_ref()
        .map(TempDir::path)
        .expect("a temporary directory");
    fs::write(desk.join("sync.toml"), text).expect("write the configuration");
    if let Ok(config) = Config::load(desk)
        && let Some(remote) = &config.remote
    {
        let _ = remote.location(desk);
    }
    fs::write(desk.join("state.json"), text).expect("write the state");
    let _ = sync_engine::state::State::load(desk);
    let (pattern, path) = text.split_once('\n').unwrap_or((text, "a/b"));
    if let (Ok(patterns), Ok(path)) = (
        Patterns::new("fuzz", &[pattern]),
        TreePath::new(path.trim_end()),
    ) {
        let _ = patterns.matches(&path);
    }
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.as_str(), text);
    }
    let _ = text.parse::<MaxDelete>();
});
