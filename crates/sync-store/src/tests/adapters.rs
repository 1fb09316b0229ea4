//! Every adapter does what its port says.

use crate::blobs::{DirBlobs, MemoryBlobs};
use crate::catalogue::{Catalogue, MemoryCatalogue, RedbCatalogue};
use crate::contract;
use crate::{Error, Store};

#[tokio::test]
async fn memory() {
    contract::blobs(&MemoryBlobs::default()).await;
    contract::catalogue(&MemoryCatalogue::default()).await;
}

#[tokio::test]
async fn embedded() {
    let dir = tempfile::tempdir().unwrap();
    contract::blobs(&DirBlobs::open(&dir.path().join("packs")).unwrap()).await;
    contract::catalogue(&RedbCatalogue::open(&dir.path().join("c.redb")).unwrap()).await;
}

/// Most runs only look: they neither write the file nor sync it.
#[tokio::test]
async fn a_store_that_is_only_read_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    store.create_tenant("acme").await.unwrap();
    drop(store);
    let file = dir.path().join("catalogue.redb");
    let before = std::fs::metadata(&file).unwrap().modified().unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store.tenant("acme").await.unwrap().unwrap();
    assert_eq!(repository.head("main").await.unwrap(), None);
    // Dropping the one leaves the other locked.
    drop(store);
    assert!(matches!(
        Store::open_dir(dir.path()).await,
        Err(Error::Held { .. })
    ));
    drop(repository);
    assert_eq!(
        std::fs::metadata(&file).unwrap().modified().unwrap(),
        before
    );
    let store = Store::open_dir(dir.path()).await.unwrap();
    store.create_tenant("second").await.unwrap();
    assert_eq!(store.tenants().await.unwrap(), ["acme", "second"]);
}

/// Without a store's lock: whoever writes must be alone, and is told so before anything changes.
#[tokio::test]
async fn a_catalogue_that_others_read_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.redb");
    RedbCatalogue::open(&path)
        .unwrap()
        .create_tenant("a")
        .await
        .unwrap();
    let one = RedbCatalogue::open(&path).unwrap();
    let other = RedbCatalogue::open(&path).unwrap();
    assert!(matches!(
        one.create_tenant("b").await,
        Err(Error::Held { .. })
    ));
    assert_eq!(other.tenants().await.unwrap().len(), 1);
    drop(other);
    one.create_tenant("b").await.unwrap();
    assert!(matches!(
        RedbCatalogue::open(&path),
        Err(Error::Held { .. })
    ));
    assert_eq!(one.tenants().await.unwrap().len(), 2);
}

/// A catalogue of a version that had fewer tables is taken over with all that is in it.
#[tokio::test]
async fn an_older_layout_gets_the_tables_that_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.redb");
    let made = RedbCatalogue::open(&path).unwrap();
    let tenant = made.create_tenant("acme").await.unwrap().id;
    drop(made);
    let database = redb::Database::open(&path).unwrap();
    let write = database.begin_write().unwrap();
    let notes = redb::TableDefinition::<(u32, &str), &[u8]>::new("notes");
    assert!(write.delete_table(notes).unwrap());
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    write.open_table(meta).unwrap().insert("layout", 2).unwrap();
    write.commit().unwrap();
    drop(database);
    let catalogue = RedbCatalogue::open(&path).unwrap();
    assert_eq!(catalogue.note(tenant, "epoch").await.unwrap(), None);
    let value = Some(b"7".to_vec());
    catalogue
        .set_note(tenant, "epoch", value.clone())
        .await
        .unwrap();
    drop(catalogue);
    let catalogue = RedbCatalogue::open(&path).unwrap();
    assert_eq!(catalogue.note(tenant, "epoch").await.unwrap(), value);
    assert_eq!(catalogue.tenants().await.unwrap().len(), 1);
}

#[test]
fn another_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.redb");
    let database = redb::Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, u64>::new("meta");
    write
        .open_table(table)
        .unwrap()
        .insert("layout", 99)
        .unwrap();
    write.commit().unwrap();
    drop(database);
    let refused = RedbCatalogue::open(&path);
    assert!(matches!(
        refused,
        Err(Error::Layout {
            found: 99,
            known: 3
        })
    ));
    std::fs::write(&path, b"not a database at all").unwrap();
    let refused = RedbCatalogue::open(&path);
    assert!(matches!(refused, Err(Error::Catalogue { .. })));
}

/// Tenants' keys are in the catalogue.
#[tokio::test]
async fn nobody_but_its_owner_reads_a_catalogue() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("catalogue.redb");
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    let store = Store::open_dir(dir.path()).await.unwrap();
    assert_eq!(mode(), 0o600);
    drop(store);
    // As an earlier version left it.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    store.create_tenant("acme").await.unwrap();
    assert_eq!(mode(), 0o600);
}

/// Names, bytes and times of what is below a directory.
fn seen(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let mut bytes = Vec::new();
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            open.extend(entries.map(|entry| entry.unwrap().path()));
        } else {
            bytes = std::fs::read(&path).unwrap();
        }
        found.push((path, bytes, metadata.modified().unwrap()));
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_is_done_to_a_copy_does_nothing_to_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (origin, copy) = (dir.path().join("origin"), dir.path().join("copy"));
    let put = async |repository: &crate::Repository, text: &str| {
        let object = (crate::Class::Contents, text.as_bytes().to_vec());
        drop(repository.put([object]).await.unwrap());
    };
    let has = async |repository: &crate::Repository, text: &str| {
        let digest = sync_core::Digest::of(text.as_bytes());
        repository.object(&digest).await.unwrap().is_some()
    };
    // Of a store that is not there the copy is empty.
    let store = Store::open_copy(&origin, &copy).await.unwrap();
    assert!(store.tenants().await.unwrap().is_empty());
    drop(store);
    assert!(!origin.exists());
    std::fs::remove_dir_all(&copy).unwrap();

    let store = Store::open_dir(&origin).await.unwrap();
    put(&store.create_tenant("acme").await.unwrap(), "old").await;
    assert!(matches!(
        Store::open_copy(&origin, &copy).await,
        Err(Error::Held { .. })
    ));
    drop(store);
    let before = seen(&origin);
    let store = Store::open_copy(&origin, &copy).await.unwrap();
    let repository = store.tenant("acme").await.unwrap().unwrap();
    put(&repository, "new").await;
    store.create_tenant("second").await.unwrap();
    assert!(has(&repository, "old").await && has(&repository, "new").await);
    assert!(matches!(
        Store::open_dir(&origin).await,
        Err(Error::Held { .. })
    ));
    drop((store, repository));
    assert_eq!(seen(&origin), before);
    let store = Store::open_dir(&origin).await.unwrap();
    assert_eq!(store.tenants().await.unwrap(), ["acme"]);
    let repository = store.tenant("acme").await.unwrap().unwrap();
    assert!(has(&repository, "old").await && !has(&repository, "new").await);
    // Nothing that is there is written over.
    assert!(matches!(
        Store::open_copy(&origin, &copy).await,
        Err(Error::Held { .. } | Error::Blobs { .. })
    ));
}
