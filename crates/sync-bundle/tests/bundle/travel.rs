//! What travels arrives as it was.

use sync_bundle::{AskExport, Only, plain};
use sync_core::Fault;
use sync_store::protocol::Retention;

use super::support::{
    Made, Parts, assert_equal, example, exported, imported, incoming, noise, tenant,
};

#[tokio::test]
async fn another_tenant_becomes_equal() {
    let source = example().await;
    source
        .set_retention("trial", Retention::Last(3))
        .await
        .unwrap();
    let tar = exported(&source, AskExport::default()).await.unwrap();
    let copy = tenant("copy").await;
    let summary = imported(&tar, &copy).await.unwrap();
    assert_equal(&source, &copy).await;
    assert_eq!(copy.retention("trial").await.unwrap(), Retention::Last(3));
    let parts = Parts::of(&tar);
    assert_eq!(summary.records_inspected, parts.manifest.record_count);
    assert_eq!(summary.records_deduplicated, 2, "settings and a token");
    let sum = summary.records_inserted
        + summary.records_deduplicated
        + summary.records_skipped
        + summary.records_failed;
    assert_eq!(summary.records_inspected, sum);
    // Once more changes nothing, and says so.
    let moves = copy.head_moves(100).await.unwrap();
    let again = imported(&tar, &copy).await.unwrap();
    assert!(again.is_unchanged());
    assert_eq!(again.records_deduplicated, summary.records_inspected);
    assert_eq!(copy.head_moves(100).await.unwrap(), moves);
}

#[tokio::test]
async fn an_unchanged_tenant_makes_the_same_bytes() {
    let source = example().await;
    let tar = exported(&source, AskExport::default()).await.unwrap();
    assert_eq!(exported(&source, AskExport::default()).await.unwrap(), tar);
    // However its objects are stored: those of the copy lie in other packs, and its key signs.
    let copy = tenant("acme").await;
    imported(&tar, &copy).await.unwrap();
    let of_copy = exported(&copy, AskExport::default()).await.unwrap();
    assert_eq!(
        Parts::of(&of_copy).manifest.bundle_digest,
        Parts::of(&tar).manifest.bundle_digest
    );
    let opened = incoming(&tar).await.unwrap();
    let opening = opened.opening();
    let key = source.identity().await.unwrap().unwrap().key.public_key();
    assert!(opening.signer.as_ref().unwrap().follows(key));
    assert_eq!(opening.manifest.created_at, 1_700_000_000_500);
}

#[tokio::test]
async fn what_came_since_needs_what_was_before() {
    let source = example().await;
    let main = source.head("main").await.unwrap().unwrap();
    let parents = source.snapshot(main).await.unwrap().parents;
    let since = Some(parents[0]);
    let full = exported(&source, AskExport::default()).await.unwrap();
    let ask = AskExport {
        since,
        ..AskExport::default()
    };
    let step = exported(&source, ask).await.unwrap();
    assert!(
        step.len() < full.len() / 2,
        "{} of {}",
        step.len(),
        full.len()
    );

    // A tenant as the source was then.
    let behind = tenant("behind").await;
    let then = tenant("then").await;
    imported(&full, &then).await.unwrap();
    let objects = then.heads().await.unwrap();
    assert_eq!(objects.len(), 2);
    assert_eq!(
        imported(&step, &behind).await.map_err(|error| error.code()),
        Err("bundle/prerequisites")
    );
    assert!(behind.is_vacant().await.unwrap());

    let old = tenant("old").await;
    let ask = AskExport {
        branch: Some("main".parse().unwrap()),
        ..AskExport::default()
    };
    let at_since = {
        let holder = tenant("holder").await;
        imported(&full, &holder).await.unwrap();
        let back = sync_store::Advance {
            branch: "main".into(),
            expected: Some(main),
            target: parents[0],
            when: 1,
        };
        holder
            .advance(super::support::nothing(), back)
            .await
            .unwrap();
        exported(&holder, ask).await.unwrap()
    };
    imported(&at_since, &old).await.unwrap();
    assert_eq!(old.count_snapshots().await.unwrap(), 2);
    imported(&step, &old).await.unwrap();
    assert_equal(&source, &old).await;
}

#[tokio::test]
async fn a_head_travels_without_its_past() {
    let source = example().await;
    let ask = AskExport {
        branch: Some("main".parse().unwrap()),
        head_only: true,
        ..AskExport::default()
    };
    let tar = exported(&source, ask).await.unwrap();
    let copy = tenant("copy").await;
    imported(&tar, &copy).await.unwrap();
    let main = source.head("main").await.unwrap();
    assert_eq!(
        copy.heads().await.unwrap(),
        [("main".to_owned(), main.unwrap())]
    );
    assert_eq!(copy.log(main.unwrap(), 9).await.unwrap().len(), 1);
    assert_eq!(copy.count_snapshots().await.unwrap(), 1);
    assert!(
        copy.verify(sync_store::Keep::Heads)
            .await
            .unwrap()
            .is_sound()
    );
    // What it knows by name alone goes on so.
    let again = exported(&copy, AskExport::default()).await.unwrap();
    let third = tenant("third").await;
    imported(&again, &third).await.unwrap();
    assert_equal(&copy, &third).await;
}

#[tokio::test]
async fn one_kind_travels_alone() {
    let source = example().await;
    for (only, files) in [(Only::Files, true), (Only::Rows, false)] {
        let ask = AskExport {
            only: Some(only),
            ..AskExport::default()
        };
        let tar = exported(&source, ask).await.unwrap();
        let copy = tenant("copy").await;
        imported(&tar, &copy).await.unwrap();
        let (old, new) = (
            source.head("main").await.unwrap().unwrap(),
            copy.head("main").await.unwrap().unwrap(),
        );
        let (old, new) = (
            source.snapshot(old).await.unwrap(),
            copy.snapshot(new).await.unwrap(),
        );
        assert_eq!(new.roots.files, old.roots.files.filter(|_| files));
        assert_eq!(new.roots.rows, old.roots.rows.filter(|_| !files));
        assert_eq!(new.message, old.message);
        assert_eq!(
            copy.count_snapshots().await.unwrap(),
            source.count_snapshots().await.unwrap()
        );
        assert!(
            copy.verify(sync_store::Keep::Heads)
                .await
                .unwrap()
                .is_sound()
        );
    }
}

#[tokio::test]
async fn a_tenant_that_has_something_is_left_alone() {
    let source = example().await;
    let tar = exported(&source, AskExport::default()).await.unwrap();
    let taken = tenant("taken").await;
    let own = Made::default()
        .rows(&[("x", b"1".to_vec())])
        .push(&taken, "main", &[], 5)
        .await;
    let error = imported(&tar, &taken).await.unwrap_err();
    assert_eq!(error.code(), "bundle/occupied");
    assert_eq!(
        error.to_string(),
        "import refused: the tenant holds 1 snapshots and 1 rows; pass --force-overwrite to import anyway"
    );
    assert_eq!(taken.heads().await.unwrap(), [("main".to_owned(), own)]);
}

#[tokio::test]
async fn many_packs_and_equal_bytes_in_different_roles() {
    let source = tenant("acme").await;
    // A file whose bytes are the chunk list of another one: which comes first must not matter.
    let large = noise(9, 16 << 10).repeat(6);
    let chunks: Vec<_> = large
        .chunks(16 << 10)
        .map(|piece| sync_core::Chunk {
            digest: sync_core::Digest::of(piece),
            len: piece.len() as u64,
        })
        .collect();
    let mut lists = Vec::new();
    sync_core::Content::from_chunks(chunks, |_, list| lists.push(list));
    let mut files = vec![("a-list", lists[0].clone()), ("b-large", large)];
    let names: Vec<String> = (0..30).map(|n| format!("c/{n:02}")).collect();
    files.extend(
        names
            .iter()
            .enumerate()
            .map(|(n, name)| (name.as_str(), noise(n as u64, 1 << 20))),
    );
    Made::default()
        .files(&files)
        .push(&source, "main", &[], 1)
        .await;
    let tar = exported(&source, AskExport::default()).await.unwrap();
    let packs = Parts::of(&tar)
        .members
        .iter()
        .filter(|(path, _)| path.starts_with("packs/"))
        .count();
    assert_eq!(packs, 5);
    let copy = tenant("copy").await;
    imported(&tar, &copy).await.unwrap();
    assert_equal(&source, &copy).await;
}

/// Files and rows as anybody reads them, and back to the same roots.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_as_files_and_lines() {
    let source = example().await;
    let head = source.head("main").await.unwrap().unwrap();
    let snapshot = source.snapshot(head).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    let (nodes, roots) = (source.nodes(), snapshot.roots);
    let to = plain.clone();
    let writing = move || plain::write(&nodes, (head, &snapshot), &"acme".parse().unwrap(), &to);
    let extent = tokio::task::spawn_blocking(writing).await.unwrap().unwrap();
    assert_eq!((extent.files, extent.rows), (2, 3));
    assert_eq!(
        std::fs::read(plain.join("files/a/one.md")).unwrap(),
        noise(1, 100)
    );
    let rows = std::fs::read_to_string(plain.join("rows/notes.ndjson")).unwrap();
    assert!(rows.contains("\"body\":\"plain\",\"id\":\"k3\""), "{rows}");

    let copy = tenant("copy").await;
    let back = async |plain: std::path::PathBuf| {
        let (mut sink, writing) = copy.writer();
        let reading = move || plain::read(&plain, &mut sink);
        let read = tokio::task::spawn_blocking(reading).await.unwrap();
        writing.finish().await.unwrap();
        read
    };
    let (manifest, read, again) = back(plain.clone()).await.unwrap();
    assert_eq!((manifest.snapshot, again), (head, extent));
    // Files of these trees are not cut as a capture cuts them.
    assert_eq!(read.roots.rows, roots.rows);
    assert_eq!((read.message, read.parents), (manifest.message, vec![]));
    // A file that has changed, one that nobody wrote, and one that is gone.
    let code = async || {
        back(plain.clone())
            .await
            .map_err(|error| error.code())
            .err()
    };
    std::fs::write(plain.join("files/a/one.md"), "other").unwrap();
    assert_eq!(code().await, Some("bundle/digest"));
    std::fs::write(plain.join("files/a/one.md"), noise(1, 100)).unwrap();
    std::fs::write(plain.join("files/a/more.md"), "more").unwrap();
    assert_eq!(code().await, Some("bundle/digest"));
    std::fs::remove_file(plain.join("files/a/more.md")).unwrap();
    std::fs::remove_file(plain.join("files/a/two.md")).unwrap();
    assert_eq!(code().await, Some("bundle/order"));
}

#[tokio::test]
async fn nothing_to_export() {
    let empty = tenant("empty").await;
    let error = exported(&empty, AskExport::default()).await.unwrap_err();
    assert_eq!(error.code(), "bundle/empty");
}
