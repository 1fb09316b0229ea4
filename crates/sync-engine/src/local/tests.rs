//! What belongs to the workspace: its journal, its lock, the name of the working copy. Items have tests in `sync-local`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sync_core::Fault;
use sync_db::{ConnectOptions, Database};
use sync_files::{Plan, StatCache, Step, Tree, Whole};

use super::*;

fn workspace(dir: &Path) -> Workspace {
    Workspace::init(dir, "w", "embedded:.sync/t", &"t".parse().unwrap()).unwrap()
}

fn local(workspace: &Workspace) -> Local {
    static RANDOM: AtomicU64 = AtomicU64::new(1);
    let context = Context {
        author: "a".to_owned(),
        now: 1_790_000_000_000,
        random: Arc::new(|| RANDOM.fetch_add(1, Ordering::Relaxed)),
        listener: Arc::new(|_| ()),
    };
    // Nobody listens there: these tests do not come as far as a database.
    let database = Database::new(
        "postgres://nobody@127.0.0.1:1/none",
        ConnectOptions::default(),
    );
    Local::new(workspace.clone(), database.unwrap(), context)
}

/// Leaves what a run leaves that was killed once its journal was written.
fn leave_journal(workspace: &Workspace, path: &str, note: &[u8]) {
    let tree = Tree::open(&workspace.tree(), &workspace.private()).unwrap();
    let whole = Whole::of(b"new\n", false);
    let plan = Plan {
        steps: vec![Step {
            path: path.parse().unwrap(),
            expected: None,
            wanted: Some(whole.entry.clone()),
            chunks: whole.chunks.clone(),
        }],
        note: note.to_vec(),
    };
    let mut staging = tree.stage(plan, &StatCache::new()).unwrap();
    staging.put(&whole.chunks[0].digest, b"new\n").unwrap();
    let commit = move || staging.commit(&|_| panic!("killed"));
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(commit));
    assert!(died.is_err());
}

#[tokio::test]
async fn a_journal_of_items_has_nothing_to_settle() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = workspace(dir.path());
    leave_journal(&workspace, "a.md", sync_local::NOTE);
    assert!(workspace.private().join("txn").exists());
    local(&workspace).recover().await.unwrap();
    assert!(!workspace.private().join("txn").exists());
    assert_eq!(
        std::fs::read(workspace.tree().join("a.md")).unwrap(),
        b"new\n"
    );
    leave_journal(&workspace, "b.md", b"of nobody");
    let error = local(&workspace).recover().await.unwrap_err();
    assert_eq!(error.code(), "engine/state");
    local(&workspace).recover().await.unwrap();
}

#[test]
fn a_working_copy_has_one_name_and_its_copy_another() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = workspace(dir.path());
    let first = local(&workspace);
    let rival = local(&workspace);
    assert_ne!(first.copy(), rival.copy());
    first.keep_copy().unwrap();
    assert_eq!(local(&workspace).copy(), first.copy());
    assert_eq!(
        rival.keep_copy().unwrap_err().code(),
        "engine/overtaken",
        "of two first runs one is told"
    );
    // A copy of the whole directory is a working copy of its own; so is one whose name is lost.
    let other = tempfile::tempdir().unwrap();
    let text = std::fs::read(workspace.private().join(COPY)).unwrap();
    let elsewhere = self::workspace(other.path());
    std::fs::create_dir_all(elsewhere.private().join("local")).unwrap();
    std::fs::write(elsewhere.private().join(COPY), &text).unwrap();
    let second = local(&elsewhere);
    assert_ne!(second.copy(), first.copy());
    second.keep_copy().unwrap();
    assert_eq!(local(&elsewhere).copy(), second.copy());
    std::fs::write(workspace.private().join(COPY), "garbage").unwrap();
    assert_ne!(local(&workspace).copy(), first.copy());
}

#[tokio::test]
async fn a_database_that_is_away_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let error = local(&workspace(dir.path()))
        .plan(
            LocalKind::Skills,
            Direction::ToDatabase,
            &LocalOptions::default(),
        )
        .await
        .unwrap_err();
    assert_eq!(error.class(), sync_core::Class::Unavailable);
}
