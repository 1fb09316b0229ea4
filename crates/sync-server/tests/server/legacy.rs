//! Requests of legacy clients, over real connections.

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
        roots: Roots { files: Some(root) },
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
async fn a_tree_goes_up_and_comes_down() {
    let (_site, repository, client) = site().await;
    let long = format!("content/{}/{}.md", "d".repeat(100), "ü".repeat(100));
    let sent = files(&[
        ("agents/triage.yaml", "name: triage\n", 0o644),
        ("skills/run.sh", "#!/bin/sh\n", 0o755),
        ("web/empty", "", 0o644),
        (&long, "long", 0o644),
    ]);
    // As clients put base and path together, and without a content type.
    let call = Call::post(format!("/{FILES}")).body(tarball(&sent));
    let (status, answer) = send(&client, call).await;
    assert_eq!(
        (status, &answer["files_uploaded"]),
        (200, &json!(4)),
        "{answer}"
    );
    assert_eq!(answer["uploaded_at"], "2023-11-14T22:13:20Z");
    let (id, snapshot) = head(&repository).await.unwrap();
    assert_eq!(
        (snapshot.author.as_str(), snapshot.parents.len()),
        ("legacy", 0)
    );
    let expected: BTreeMap<_, _> = sent
        .iter()
        .map(|(path, (bytes, mode))| (path.clone(), small(bytes, mode & 0o100 != 0)))
        .collect();
    assert_eq!(tree(&repository).await, expected);

    let (answer, bytes) = fetch(&client, FILES).await;
    assert_eq!(untar(&bytes), sent);
    assert!(answer.headers().get(CONTENT_ENCODING).is_none());
    // The same tree is the same bytes.
    assert_eq!(fetch(&client, FILES).await.1, bytes);

    // What is there already is no new snapshot.
    let again = Call::post(FILES).body(tarball(&sent));
    assert_eq!(send(&client, again).await.1["files_uploaded"], 4);
    assert_eq!(head(&repository).await.unwrap().0, id);
    let mut plain = sent.clone();
    plain.get_mut("skills/run.sh").unwrap().1 = 0o644;
    assert_eq!(
        send(&client, Call::post(FILES).body(tarball(&plain)))
            .await
            .0,
        200
    );
    assert_eq!(head(&repository).await.unwrap().1.parents, [id]);
    assert_eq!(pull(&client, FILES).await, plain);
}

#[tokio::test]
async fn a_file_of_many_chunks_is_whole_between_small_ones() {
    let (_site, _, client) = site().await;
    let mut state = 7u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    });
    let mut sent = Files::new();
    for n in 0..50 {
        sent.insert(format!("web/{n}.txt"), (vec![b'a'; n], 0o644));
    }
    // More than is read ahead, and a length that fills no block of a tar.
    sent.insert(
        "web/30.bin".into(),
        (noise.take((9 << 20) + 77).collect(), 0o755),
    );
    assert_eq!(
        send(&client, Call::post(FILES).body(tarball(&sent)))
            .await
            .0,
        200
    );
    assert!(pull(&client, FILES).await == sent);
    let manifest = "/api/v1/sync/files/manifest";
    let (_, manifest) = send(&client, Call::get(manifest)).await;
    let listed = |path: &str| {
        let mut listed = manifest["files"].as_array().unwrap().iter();
        listed.find(|file| file["path"] == path).unwrap()["checksum"].clone()
    };
    for path in ["web/30.bin", "web/0.txt", "web/49.txt"] {
        let sum = ring::digest::digest(&ring::digest::SHA256, &sent[path].0);
        assert_eq!(listed(path), data_encoding::HEXLOWER.encode(sum.as_ref()));
    }
}

#[tokio::test]
async fn a_push_adds_and_replaces_and_deletes_nothing() {
    let (_site, repository, client) = site().await;
    let file = |path: &str| small(path.as_bytes(), false);
    let link = Entry::Link {
        target: "a.md".into(),
    };
    let before = [
        ("agents/a.md", file("agents/a.md")),
        ("agents/b.md", file("agents/b.md")),
        ("agents/empty", Entry::Directory),
        ("agents/link", link.clone()),
        ("agents/other", Entry::Directory),
        (
            "access-control/rules.yaml",
            file("access-control/rules.yaml"),
        ),
        ("agents-old", file("agents-old")),
        ("mcp/tools.yaml", file("mcp/tools.yaml")),
    ];
    native(&repository, &before).await;
    // Only what those clients know is sent to them: regular files of the eight directories.
    let known = files(&[
        ("agents/a.md", "agents/a.md", 0o644),
        ("agents/b.md", "agents/b.md", 0o644),
    ]);
    assert_eq!(pull(&client, FILES).await, known);
    let pushed = files(&[
        ("agents/a.md", "new", 0o644),
        ("agents/empty/deep/c.md", "c", 0o644),
        ("jobs/d.yaml", "d", 0o644),
    ]);
    assert_eq!(
        send(&client, Call::post(FILES).body(tarball(&pushed)))
            .await
            .0,
        200
    );
    let mut expected: BTreeMap<_, _> = before
        .iter()
        .map(|(path, e)| ((*path).to_owned(), e.clone()))
        .collect();
    // A directory that fills is implied by what is in it, as a capture has it.
    expected.remove("agents/empty");
    expected.insert("agents/a.md".into(), small(b"new", false));
    expected.insert("agents/empty/deep/c.md".into(), small(b"c", false));
    expected.insert("jobs/d.yaml".into(), small(b"d", false));
    assert_eq!(tree(&repository).await, expected);
    // The very same tree from a workspace has the very same root.
    let root = head(&repository).await.unwrap().1.roots.files;
    let mut nodes = MemoryNodes::new();
    let mut builder = map::Builder::new(&mut nodes);
    for (path, entry) in &expected {
        builder.push(path.as_bytes(), &entry.encode()).unwrap();
    }
    assert_eq!(root, Some(builder.finish().unwrap().root));
}

#[tokio::test]
async fn one_bad_entry_refuses_all_and_nothing_is_seen() {
    let (_site, repository, client) = site().await;
    let raw = |name: &[u8], kind: EntryType| {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::new(6)));
        let mut good = Header::new_gnu();
        good.set_size(4);
        good.set_mode(0o644);
        builder
            .append_data(&mut good, "agents/good.md", &b"good"[..])
            .unwrap();
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
        builder.into_inner().unwrap().finish().unwrap()
    };
    let whole = tarball(&files(&[("agents/good.md", "good", 0o644)]));
    let bodies = [
        ("path_outside", raw(b"../evil", EntryType::Regular)),
        ("absolute_path", raw(b"/etc/evil", EntryType::Regular)),
        ("drive_letter", raw(b"c:evil", EntryType::Regular)),
        (
            "control_character",
            raw(b"agents/\x1bevil", EntryType::Regular),
        ),
        ("duplicate", raw(b"agents/good.md", EntryType::Regular)),
        (
            "file_under_file",
            raw(b"agents/good.md/evil", EntryType::Regular),
        ),
        ("link", raw(b"agents/evil", EntryType::Symlink)),
        ("special_file", raw(b"agents/evil", EntryType::Char)),
        ("truncated", whole[..whole.len() - 9].to_vec()),
        ("truncated", Vec::new()),
        ("trailing_data", [&whole[..], b"evil"].concat()),
        // Longer than what is on its way: the refusal is read all the same.
        ("not_gzip", vec![b'x'; 8 << 20]),
    ];
    for base in [FILES, "/api/v1/sync/files"] {
        for (reason, body) in &bodies {
            let (status, answer) = send(&client, Call::post(base).body(body.clone())).await;
            assert_eq!(
                (status, &answer["code"]),
                (422, &json!("validation_error")),
                "{answer}"
            );
            assert_eq!(answer["details"]["reason"], *reason, "{answer}");
            assert_eq!(answer["error"]["code"], answer["code"]);
            assert_eq!(head(&repository).await, None);
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_off_leaves_nothing() {
    let (site, repository, _) = site().await;
    let (_, token) = site.token("acme", "write").await;
    let body = tarball(&files(&[("agents/a.md", "a", 0o644)]));
    let address = site.url.strip_prefix("http://").unwrap().to_owned();
    let said = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST {FILES} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(&body[..body.len() - 1]).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        said
    });
    // The end of the connection is the end of the handler, whether or not it got to say anything.
    let said = said.await.unwrap();
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 400"),
        "{said}"
    );
    assert_eq!(head(&repository).await, None);
}

#[tokio::test]
async fn a_file_cannot_take_the_place_of_a_directory_or_be_below_a_file() {
    let (_site, repository, client) = site().await;
    let file = |path: &str| small(path.as_bytes(), false);
    let link = Entry::Link { target: "a".into() };
    let before = [
        ("agents/a", file("agents/a")),
        ("agents/d/e/f", file("agents/d/e/f")),
        ("agents/link", link),
    ];
    native(&repository, &before).await;
    let (id, _) = head(&repository).await.unwrap();
    for path in [
        "agents/a/b",
        "agents/d",
        "agents/d/e",
        "agents",
        "agents/link/x",
    ] {
        let body = tarball(&files(&[("agents/new", "new", 0o644), (path, "x", 0o644)]));
        for dry_run in ["", "?dry_run=true"] {
            let call = Call::post(format!("/api/v1/sync/files{dry_run}")).body(body.clone());
            let (status, answer) = send(&client, call).await;
            assert_eq!(
                (status, &answer["details"]["reason"]),
                (422, &json!("file_under_file")),
                "{path}"
            );
        }
        assert_eq!(head(&repository).await.unwrap().0, id);
    }
}

#[tokio::test]
async fn of_many_pushes_at_once_none_is_lost() {
    let (_site, repository, client) = site().await;
    let mut pushes = tokio::task::JoinSet::new();
    for n in 0..12 {
        let client = client.clone();
        pushes.spawn(async move {
            let sent = files(&[(&format!("agents/{n}.md"), &format!("agent {n}"), 0o644)]);
            send(&client, Call::post(FILES).body(tarball(&sent))).await
        });
    }
    while let Some(pushed) = pushes.join_next().await {
        let (status, answer) = pushed.unwrap();
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(pull(&client, FILES).await.len(), 12);
    // Each is a snapshot of its own.
    let (id, _) = head(&repository).await.unwrap();
    assert_eq!(repository.log(id, 100).await.unwrap().len(), 12);
}

async fn exchange(site: &Site, form: &str) -> (u16, Value) {
    let nobody = site.client("none");
    send(
        &nobody,
        Call::post("/api/v1/core/oauth/token").body(form.as_bytes().to_vec()),
    )
    .await
}

async fn access(site: &Site, subject: &str) -> (Client, Value) {
    let form = format!("grant_type={GRANT}&subject_token={subject}&subject_token_type={JWT}");
    let (status, granted) = exchange(site, &form.replace(':', "%3A")).await;
    assert_eq!(
        (status, &granted["token_type"]),
        (200, &json!("Bearer")),
        "{granted}"
    );
    let token = granted["access_token"].as_str().unwrap();
    (site.client(token), granted)
}

#[tokio::test]
async fn an_access_token_does_what_its_api_token_does_and_no_longer() {
    let site = Site::with_tenants().await;
    let (id, token) = site.token("acme", "write").await;
    let (client, granted) = access(&site, &token).await;
    // The API token ends in a minute, so no access token lives for an hour.
    assert_eq!(granted["expires_in"], 60);
    assert_eq!(
        granted["issued_token_type"],
        "urn:ietf:params:oauth:token-type:access_token"
    );
    let body = tarball(&files(&[("agents/a.md", "a", 0o644)]));
    let post = || Call::post("/api/v1/sync/files").body(body.clone());
    assert_eq!(send(&client, post()).await.0, 200);
    assert_eq!(pull(&client, "/api/v1/sync/files").await.len(), 1);
    // It is for these clients alone, and for its tenant alone.
    assert_eq!(send(&client, Call::get(HEAD)).await.0, 401);
    let foreign = Call::get("/api/v1/cloud/tenants/other/files");
    assert_eq!(send(&client, foreign).await.0, 403);
    // An access token is none to exchange.
    let form = format!(
        "grant_type={GRANT}&subject_token_type={JWT}&subject_token={}",
        granted["access_token"].as_str().unwrap()
    );
    assert_eq!(exchange(&site, &form).await.1["error"], "invalid_request");

    let (_, reader) = site.token("acme", "read").await;
    let (reader, _) = access(&site, &reader).await;
    let (status, refused) = send(&reader, post()).await;
    assert_eq!((status, &refused["code"]), (403, &json!("forbidden")));
    assert_eq!(pull(&reader, "/api/v1/sync/files").await.len(), 1);

    let revoke = Call::new(Method::DELETE, format!("/v1/admin/tokens/{id}"));
    assert_eq!(send(&site.operator, revoke).await.0, 200);
    let (status, refused) = send(&client, post()).await;
    assert_eq!((status, &refused["code"]), (401, &json!("unauthorized")));
    site.now.fetch_add(60_000, Ordering::Relaxed);
    assert_eq!(send(&reader, Call::get("/api/v1/sync/files")).await.0, 401);
    let form = format!("grant_type={GRANT}&subject_token={token}&subject_token_type={JWT}");
    let (status, refused) = exchange(&site, &form).await;
    assert_eq!(
        (status, &refused["error"]),
        (400, &json!("invalid_request"))
    );
    assert!(refused["error_description"].is_string());
    assert_eq!(
        exchange(&site, "grant_type=password").await.1["error"],
        "unsupported_grant_type"
    );
    assert_eq!(exchange(&site, "%").await.0, 400);
}

#[tokio::test]
async fn a_manifest_says_what_a_pull_would_bring() {
    let (_site, repository, client) = site().await;
    let sent = files(&[
        ("agents/a.md", "abc", 0o644),
        ("config/b.yaml", "", 0o644),
        ("skills/c.md", "abc", 0o755),
    ]);
    let sha = |text: &[u8]| {
        let digest = ring::digest::digest(&ring::digest::SHA256, text);
        data_encoding::HEXLOWER.encode(digest.as_ref())
    };
    let listed = |paths: &[&str]| {
        let mut all = String::new();
        let file = |path: &&str| {
            let (bytes, _) = &sent[*path];
            all.push_str(&sha(bytes));
            json!({"path": path, "checksum": sha(bytes), "size": bytes.len()})
        };
        let files: Vec<_> = paths.iter().map(file).collect();
        let total: usize = paths.iter().map(|path| sent[*path].0.len()).sum();
        json!({
            "files": files, "timestamp": "2023-11-14T22:13:20Z",
            "checksum": sha(all.as_bytes()), "total_size": total,
        })
    };
    let all = ["agents/a.md", "config/b.yaml", "skills/c.md"];
    let manifest = "/api/v1/sync/files/manifest";
    assert_eq!(send(&client, Call::get(manifest)).await, (200, listed(&[])));
    // What would be pushed, and nothing is.
    let dry = Call::post("/api/v1/sync/files?dry_run=true").body(tarball(&sent));
    let (status, answer) = send(&client, dry).await;
    assert_eq!((status, &answer["files_uploaded"]), (200, &json!(3)));
    assert_eq!(answer["manifest"], listed(&all));
    assert!(repository.is_vacant().await.unwrap());

    let push = Call::post("/api/v1/sync/files?dry_run=false").body(tarball(&sent));
    assert_eq!(send(&client, push).await.0, 200);
    // The second time from memory.
    for _ in 0..2 {
        assert_eq!(
            send(&client, Call::get(manifest)).await,
            (200, listed(&all))
        );
    }
    let dry = Call::get("/api/v1/sync/files?dry_run=true&filter=skills%2C%20agents,nothing");
    assert_eq!(
        send(&client, dry).await,
        (200, listed(&["agents/a.md", "skills/c.md"]))
    );
    let (answer, bytes) = fetch(&client, "/api/v1/sync/files?filter=config").await;
    assert_eq!(
        untar(&bytes).into_keys().collect::<Vec<_>>(),
        ["config/b.yaml"]
    );
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/gzip");
    assert_eq!(
        answer.headers()[CONTENT_DISPOSITION],
        "attachment; filename=\"files.tar.gz\""
    );
    let (status, refused) = send(&client, Call::get("/api/v1/sync/files?dry_run=maybe")).await;
    assert_eq!((status, &refused["code"]), (400, &json!("bad_request")));
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
        // What comes later is refused for good: 503 would be sent again and again.
        for later in ["registry-token", "database/export"] {
            let (status, answer) = send(&client, Call::get(format!("{base}/{later}"))).await;
            assert_eq!((status, &answer["code"]), (404, &json!("not_found")));
            assert_eq!(answer["error"]["code"], "not_found");
            let texts = ["message", "trace_id", "timestamp"];
            assert!(
                texts.iter().all(|text| answer[text].is_string()),
                "{answer}"
            );
        }
        let deploy = post(&format!("{base}/deploy"), &json!({"image": "a/b:c"}));
        assert_eq!(send(&client, deploy).await.0, 404);
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
