//! Requests of legacy clients, over real connections.

mod database;
mod database_postgres;
mod exchange;
mod pull;
mod push;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE};
use sync_core::map::{self, Map};
use sync_core::{Snapshot, TreePath};
use sync_store::{Advance, Advanced, Class as ObjectClass, Repository};
use tar::{Archive, Builder, EntryType, Header};

use super::*;

const FILES: &str = "/api/v1/cloud/tenants/acme/files";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Bytes and mode of files by path.
type Files = BTreeMap<String, (Vec<u8>, u32)>;

fn files(files: &[(&str, &str, u32)]) -> Files {
    let file = |(path, text, mode): &(&str, &str, u32)| {
        ((*path).to_owned(), (text.as_bytes().to_vec(), *mode))
    };
    files.iter().map(file).collect()
}

/// A tar.gz as legacy clients make it.
fn tarball(files: &Files) -> Vec<u8> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::new(6)));
    // In no particular order.
    for (path, (bytes, mode)) in files.iter().rev() {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o100_000 | mode);
        header.set_mtime(1_700_000_001);
        header.set_uid(1000);
        builder
            .append_data(&mut header, path, bytes.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// What a legacy client makes of a tar.gz.
fn untar(bytes: &[u8]) -> Files {
    let mut found = Files::new();
    for entry in Archive::new(GzDecoder::new(bytes)).entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().entry_type(), EntryType::Regular);
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let mode = entry.header().mode().unwrap();
        assert!(found.insert(path, (bytes, mode)).is_none());
    }
    found
}

async fn fetch(client: &Client, path: &str) -> (Response<()>, Vec<u8>) {
    let answer = client.send(Call::get(path)).await.unwrap();
    let (parts, body) = answer.into_parts();
    let bytes = body.read_to_end(64 << 20).await.unwrap();
    (Response::from_parts(parts, ()), bytes.to_vec())
}

async fn pull(client: &Client, path: &str) -> Files {
    let (answer, bytes) = fetch(client, path).await;
    assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(&bytes));
    untar(&bytes)
}

/// A site, its tenant, and a client that may write.
async fn site() -> (Site, Repository, Client) {
    let site = Site::with_tenants().await;
    let repository = site.store.tenant("acme").await.unwrap().unwrap();
    let (_, token) = site.token("acme", "write").await;
    let client = site.client(&token);
    (site, repository, client)
}

async fn head(repository: &Repository) -> Option<(SnapshotId, Snapshot)> {
    let id = repository.head("main").await.unwrap()?;
    Some((id, repository.snapshot(id).await.unwrap()))
}

/// An entry whose content is one chunk.
fn small(text: &[u8], executable: bool) -> Entry {
    let chunk = |bytes| Chunk {
        digest: Digest::of(bytes),
        len: bytes.len() as u64,
    };
    let chunks = Vec::from_iter((!text.is_empty()).then(|| chunk(text)));
    let content = Content { depth: 0, chunks };
    Entry::File {
        executable,
        content,
    }
}

/// Pushes a tree as a workspace would; files hold their own paths.
async fn native(repository: &Repository, entries: &[(&str, Entry)]) -> Digest {
    let mut nodes = MemoryNodes::new();
    let mut builder = map::Builder::new(&mut nodes);
    let sorted: BTreeMap<_, _> = entries.iter().map(|(path, entry)| (*path, entry)).collect();
    for (path, entry) in &sorted {
        builder.push(path.as_bytes(), &entry.encode()).unwrap();
    }
    let root = builder.finish().unwrap().root;
    let expected = repository.head("main").await.unwrap();
    let snapshot = Snapshot {
        author: "ada".into(),
        message: "by hand".into(),
        parents: expected.into_iter().collect(),
        roots: Roots {
            files: Some(root),
            ..Roots::default()
        },
        time: 1_700_000_000_000,
    };
    let (target, bytes) = snapshot.encode().unwrap();
    let nodes = nodes
        .into_iter()
        .map(|(_, node)| (ObjectClass::Nodes, node.to_vec()));
    let texts = sorted
        .keys()
        .map(|path| (ObjectClass::Contents, path.as_bytes().to_vec()));
    let objects: Vec<_> = nodes
        .chain(texts)
        .chain([(ObjectClass::Nodes, bytes)])
        .collect();
    let received = repository.prepare(objects).await.unwrap();
    let advance = Advance {
        branch: "main".into(),
        expected,
        target,
        when: 1,
    };
    let advanced = repository.advance(received, advance).await.unwrap();
    assert_eq!(advanced, Advanced::Moved);
    root
}

/// The tree of the branch.
async fn tree(repository: &Repository) -> BTreeMap<String, Entry> {
    let Some((_, snapshot)) = head(repository).await else {
        return BTreeMap::new();
    };
    let root = snapshot.roots.files.unwrap_or(Map::empty_root());
    let nodes = repository.nodes();
    let read = move || {
        let rows = map::iter(&nodes, root).map(|row| {
            let (key, value) = row.unwrap();
            let path = TreePath::from_bytes(&key).unwrap().to_string();
            (path, Entry::decode(&value).unwrap())
        });
        rows.collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test]
async fn every_answer_is_json_that_both_kinds_of_clients_read() {
    let (site, _, client) = site().await;
    let check = async |path: &str, member: &str, expected: Value| {
        let (status, answer) = send(&client, Call::get(path)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(
            (&answer[member], &answer["data"][member]),
            (&expected, &expected)
        );
    };
    for base in ["/api/v1/cloud/tenants/acme", "/api/v1/tenants/acme"] {
        check(base, "fly_app_name", Value::Null).await;
        check(&format!("{base}/database"), "database_url", Value::Null).await;
        check(&format!("{base}/status"), "status", json!("not_deployed")).await;
        // What is not there is refused for good: 503 would be sent again and again.
        let deployer = site.client(&site.token("acme", "deploy").await.1);
        {
            let token = Call::get(format!("{base}/registry-token"));
            let (status, answer) = send(&deployer, token).await;
            assert_eq!((status, &answer["code"]), (404, &json!("not_found")));
            assert_eq!(answer["error"]["code"], "not_found");
            let texts = ["message", "trace_id", "timestamp"];
            assert!(
                texts.iter().all(|text| answer[text].is_string()),
                "{answer}"
            );
        }
        let deploy = post(&format!("{base}/deploy"), &json!({"image": "a/b:c"}));
        assert_eq!(send(&deployer, deploy).await.0, 404);
    }
    // Nobody learns what exists before he says who he is.
    for path in [
        FILES,
        "/api/v1/nothing",
        "/api/v1/cloud/tenants/nobody/files",
    ] {
        let (status, answer) = send(&site.client("none"), Call::get(path)).await;
        assert_eq!(
            (status, &answer["code"]),
            (401, &json!("unauthorized")),
            "{path}"
        );
    }
    assert_eq!(send(&client, Call::get("/api/v1/nothing")).await.0, 404);
    assert_eq!(send(&client, Call::new(Method::PUT, FILES)).await.0, 404);
    // The operator is no tenant.
    let direct = Call::get("/api/v1/sync/files");
    assert_eq!(send(&site.operator, direct).await.0, 400);
    assert_eq!(pull(&site.operator, FILES).await, Files::new());
}
