//! What a push makes of a tree, and what it refuses.

use super::*;

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
