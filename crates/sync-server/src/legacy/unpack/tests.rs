//! Tarballs as legacy clients send them, and everything that they never send.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sync_core::cut::{CHUNK_MAX, CHUNK_MIN};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// What a client's library makes of files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An entry that no library would make.
fn entry(name: &[u8], kind: EntryType, size: u64, bytes: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    let mut entry = header.as_bytes().to_vec();
    entry.extend_from_slice(bytes);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

fn file(name: &str) -> Vec<u8> {
    entry(name.as_bytes(), EntryType::Regular, 1, b"x")
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

/// What was handed out to be kept.
type Objects = Vec<(Class, Vec<u8>)>;

/// Sends `body` in small pieces.
fn read(body: &[u8], limits: Limits) -> Result<(Files, Objects), Error> {
    let (sender, pieces) = mpsc::channel(body.len() / 1000 + 1);
    for piece in body.chunks(1000) {
        sender.try_send(Bytes::copy_from_slice(piece)).unwrap();
    }
    drop(sender);
    let mut objects = Vec::new();
    let files = unpack(Pieces::new(pieces), limits, true, |class, object| {
        objects.push((class, object));
        Ok(())
    })?;
    Ok((files, objects))
}

#[track_caller]
fn check_limited(body: &[u8], limits: Limits, expected: Result<&[&str], &str>) {
    let found = read(body, limits).map(|(files, _)| files.into_keys().collect::<Vec<_>>());
    match (found, expected) {
        (Ok(found), Ok(expected)) => {
            let found: Vec<_> = found.iter().map(TreePath::as_str).collect();
            assert_eq!(found, expected);
        }
        (Err(Error::Tarball { refusal, place }), Err(expected)) => {
            assert_eq!(refusal.name(), expected, "at `{place}`");
            assert!(!place.contains(char::is_control), "{place:?}");
        }
        (found, expected) => panic!("{found:?}, not {expected:?}"),
    }
}

#[track_caller]
fn check(tar: &[u8], expected: Result<&[&str], &str>) {
    check_limited(&gzip(tar), Limits::default(), expected);
}

#[test]
fn what_clients_send_is_taken() {
    let long = format!("agents/{}/{}.md", "d".repeat(90), "n".repeat(200));
    let mut expected = ["agents/a.md", &long, "skills/empty", "web/ü"];
    expected.sort_unstable();
    check(
        &tar(&[
            ("web/ü", b"1"),
            ("agents/a.md", b"22"),
            (&long, b""),
            ("skills/empty", b""),
        ]),
        Ok(&expected),
    );
    check(&tar(&[]), Ok(&[]));
    // GNU tar says where it starts, lists directories, and fills its last record.
    let dotted = [
        entry(b"./", EntryType::Directory, 0, b""),
        entry(b"./agents/", EntryType::Directory, 0, b""),
        file("./agents/a"),
    ];
    check(
        &[archive(&dotted), vec![0; 8192]].concat(),
        Ok(&["agents/a"]),
    );
}

#[test]
fn what_no_client_sends_is_refused_by_name() {
    for (name, reason) in [
        ("/etc/passwd", "absolute_path"),
        (".//etc/passwd", "absolute_path"),
        ("../a", "path_outside"),
        ("a/../../b", "path_outside"),
        ("./../a", "path_outside"),
        ("././a", "path_outside"),
        ("c:/a", "drive_letter"),
        ("a\\b", "backslash"),
        ("a\u{1b}[2Jb", "control_character"),
        ("a\nb", "control_character"),
        ("a//b", "empty_path"),
        ("", "empty_path"),
        ("a/", "empty_path"),
    ] {
        check(&archive(&[file("agents/good"), file(name)]), Err(reason));
    }
    check(
        &archive(&[entry(b"a\xff", EntryType::Regular, 0, b"")]),
        Err("not_utf8"),
    );
    check(
        &archive(&[entry(b"../", EntryType::Directory, 0, b"")]),
        Err("path_outside"),
    );
    for (kind, reason) in [
        (EntryType::Symlink, "link"),
        (EntryType::Link, "link"),
        (EntryType::GNULongLink, "link"),
        (EntryType::Char, "special_file"),
        (EntryType::Block, "special_file"),
        (EntryType::Fifo, "special_file"),
        (EntryType::GNUSparse, "unsupported_entry"),
        (EntryType::Continuous, "unsupported_entry"),
        (EntryType::XHeader, "unsupported_entry"),
        (EntryType::XGlobalHeader, "unsupported_entry"),
        (EntryType::new(b'?'), "unsupported_entry"),
    ] {
        check(&archive(&[entry(b"a", kind, 0, b"")]), Err(reason));
    }
    check(
        &archive(&[file("a"), file("b"), file("a")]),
        Err("duplicate"),
    );
    check(&archive(&[file("a"), file("./a")]), Err("duplicate"));
    check(
        &archive(&[file("a/b/c"), file("a")]),
        Err("file_under_file"),
    );
    check(
        &archive(&[file("a"), file("a.b"), file("a/b")]),
        Err("file_under_file"),
    );
}

#[test]
fn long_names_are_bounded_and_belong_to_what_follows() {
    let long = |name: &[u8]| {
        entry(
            b"././@LongLink",
            EntryType::GNULongName,
            name.len() as u64,
            name,
        )
    };
    check(
        &archive(&[long(b"agents/a\0"), file("other")]),
        Ok(&["agents/a"]),
    );
    check(&archive(&[long(b"../a\0"), file("a")]), Err("path_outside"));
    check(
        &archive(&[long(b"a\0b\0"), file("a")]),
        Err("control_character"),
    );
    check(
        &archive(&[long(&[b'n'; 256]), file("a")]),
        Err("path_too_long"),
    );
    check(
        &archive(&[long(&b"n/".repeat(2001)), file("a")]),
        Err("path_too_long"),
    );
    // Not even the name of a path that could not be is read.
    let claimed = entry(b"x", EntryType::GNULongName, 1 << 40, b"");
    check(&archive(&[claimed]), Err("path_too_long"));
    check(
        &archive(&[long(b"a\0"), long(b"b\0"), file("c")]),
        Err("unsupported_entry"),
    );
    check(&archive(&[long(b"a\0")]), Err("not_tar"));
}

#[test]
fn sizes_and_ends_that_lie_are_refused() {
    let whole = archive(&[file("a"), file("b")]);
    for cut in [
        1,
        511,
        512,
        513,
        1024,
        1536,
        2047,
        2048,
        2049,
        2560,
        whole.len() - 1,
    ] {
        check(&whole[..cut], Err("truncated"));
    }
    let packed = gzip(&whole);
    for cut in 0..packed.len() {
        check_limited(&packed[..cut], Limits::default(), Err("truncated"));
    }
    check_limited(
        &[&packed[..], b"x"].concat(),
        Limits::default(),
        Err("trailing_data"),
    );
    check_limited(
        &[&packed[..], &packed].concat(),
        Limits::default(),
        Err("trailing_data"),
    );
    check(&[&whole[..], b"x"].concat(), Err("trailing_data"));
    check(&[&whole[..2560], b"x"].concat(), Err("truncated"));
    // More than there is; less than there is, so that what follows is no header.
    check(
        &archive(&[entry(b"a", EntryType::Regular, 4000, b"x")]),
        Err("truncated"),
    );
    check(
        &archive(&[entry(b"a", EntryType::Regular, u64::MAX / 4, b"x")]),
        Err("truncated"),
    );
    check(
        &archive(&[entry(b"a", EntryType::Regular, u64::MAX, b"x")]),
        Err("too_large"),
    );
    check(
        &archive(&[entry(b"a", EntryType::Regular, 3, &[b'x'; 600])]),
        Err("not_tar"),
    );
    let mut damaged = whole.clone();
    damaged[1] ^= 1;
    check(&damaged, Err("not_tar"));
    check(
        b"plainly no tar, but longer than one block"
            .repeat(20)
            .as_slice(),
        Err("not_tar"),
    );
    check_limited(b"not gzip at all", Limits::default(), Err("not_gzip"));
    // The checksum of the gzip is looked at.
    let mut flipped = packed.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 1;
    check_limited(&flipped, Limits::default(), Err("not_gzip"));
}

#[test]
fn no_damage_is_more_than_a_refusal() {
    let whole = archive(&[
        entry(b"././@LongLink", EntryType::GNULongName, 9, b"agents/a\0"),
        entry(b"x", EntryType::Regular, 3, b"abc"),
        entry(b"skills/", EntryType::Directory, 0, b""),
    ]);
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            match read(&gzip(&damaged), Limits::default()) {
                Ok((files, _)) => assert_eq!(files.len(), 1),
                Err(Error::Tarball { .. }) => {}
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
    }
    let packed = gzip(&whole);
    for at in 0..packed.len() {
        let mut damaged = packed.clone();
        damaged[at] ^= 0x10;
        // What a gzip header says beside the data (a time, a system) is nobody's business.
        let read = read(&damaged, Limits::default());
        assert!(
            matches!(read, Ok(_) | Err(Error::Tarball { .. })),
            "byte {at}"
        );
    }
}

#[test]
fn what_inflates_too_far_is_refused() {
    let zeros = vec![0; 4 << 20];
    let body = gzip(&tar(&[("agents/zeros", &zeros)]));
    let limits = Limits {
        free: 1 << 20,
        ..Limits::default()
    };
    check_limited(&body, Limits::default(), Ok(&["agents/zeros"]));
    check_limited(&body, limits, Err("inflation_bomb"));
    let small = |compressed, inflated| Limits {
        compressed,
        inflated,
        ..Limits::default()
    };
    check_limited(&body, small(1 << 20, 1 << 20), Err("too_large"));
    check_limited(&body, small(1000, 1 << 30), Err("too_large"));
}

#[test]
fn contents_are_cut_as_a_workspace_cuts_them() {
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(3 << 20)
    .collect();
    let (files, objects) = read(&gzip(&tar(&[("web/a", &noise)])), Limits::default()).unwrap();
    let chunks: Vec<_> = objects
        .iter()
        .filter(|(class, _)| *class == Class::Contents)
        .map(|(_, chunk)| chunk.as_slice())
        .collect();
    assert_eq!(chunks.concat(), noise);
    assert!(chunks.len() > Content::MAX_INLINE);
    assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_MAX));
    assert!(
        chunks
            .iter()
            .rev()
            .skip(1)
            .all(|chunk| chunk.len() >= CHUNK_MIN)
    );
    let file = files.values().next().unwrap();
    let digests = chunks.iter().map(|chunk| Chunk {
        digest: Digest::of(chunk),
        len: chunk.len() as u64,
    });
    let mut lists = Vec::new();
    let content = Content::from_chunks(digests.collect(), |_, list| {
        lists.push((Class::Nodes, list));
    });
    let executable = false;
    assert_eq!(
        *file.value,
        Entry::File {
            executable,
            content
        }
        .encode()[..]
    );
    assert_eq!(objects[chunks.len()..], lists);
    let checksum = ring::digest::digest(&SHA256, &noise);
    assert_eq!(
        file.checksum.as_ref().map(<[u8; 32]>::as_slice),
        Some(checksum.as_ref())
    );
}
