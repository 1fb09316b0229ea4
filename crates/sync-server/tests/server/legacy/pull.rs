//! What is sent back: a tarball, or a manifest.

use super::*;

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
