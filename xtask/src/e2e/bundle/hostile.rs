//! Bundles that are no bundles, made by hand from one that is.

use std::fs;

use super::super::scenario::Place;
use super::{assert_nothing, export, import, signer, source};

const BLOCK: usize = 512;

/// A member of a tar: its header, and its bytes with what pads them.
type Member = (Vec<u8>, Vec<u8>);

/// Takes a tar apart.
#[track_caller]
fn members(tar: &[u8]) -> Vec<Member> {
    let mut found = Vec::new();
    let mut rest = tar;
    while rest[0] != 0 {
        let (header, behind) = rest.split_at(BLOCK);
        let size = std::str::from_utf8(&header[124..135]).expect("octal digits");
        let size = usize::from_str_radix(size, 8).expect("octal digits");
        let (bytes, behind) = behind.split_at(size.next_multiple_of(BLOCK));
        found.push((header.to_vec(), bytes.to_vec()));
        rest = behind;
    }
    found
}

fn tar(members: &[Member]) -> Vec<u8> {
    let mut all: Vec<u8> = members
        .iter()
        .flat_map(|(header, bytes)| [&header[..], bytes].concat())
        .collect();
    all.resize(all.len() + 2 * BLOCK, 0);
    all
}

/// Gives a member other bytes, and its header their length.
fn replace((header, bytes): &mut Member, with: &[u8]) {
    header[124..135].copy_from_slice(format!("{:011o}", with.len()).as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    *bytes = with.to_vec();
    bytes.resize(with.len().next_multiple_of(BLOCK), 0);
}

/// The same with a text of the manifest replaced.
fn edited(members: &[Member], from: &str, to: &str) -> Vec<u8> {
    let mut members = members.to_vec();
    let text = String::from_utf8_lossy(&members[0].1).into_owned();
    let text = text.trim_end_matches('\0').replacen(from, to, 1);
    replace(&mut members[0], text.as_bytes());
    tar(&members)
}

pub(super) fn hostile_bundles_leave_nothing(place: &Place) {
    let _here = source(place);
    let own = place.own_server();
    let good = export(place, "good.tar", &["--uncompressed"]);
    let key = signer(place, &good);
    let bytes = fs::read(&good).expect("read");
    let parts = members(&bytes);
    let named = |path: &str| {
        let at = parts
            .iter()
            .position(|(header, _)| header.starts_with(path.as_bytes()));
        at.expect("a member")
    };
    let pack = named("packs/000001.pack");
    let changed = |change: &dyn Fn(&mut Vec<Member>)| {
        let mut parts = parts.clone();
        change(&mut parts);
        tar(&parts)
    };
    let flipped =
        |member: usize, at: usize| changed(&|parts: &mut Vec<Member>| parts[member].1[at] ^= 1);
    // The key of somebody else, who did not sign this.
    let stranger = {
        let other = place.cli();
        let data = place.directory().join("stranger").display().to_string();
        other
            .call(&["tenant", "create", "stranger", "--data", &data])
            .ok();
        let words = ["--data", &data, "--tenant", "stranger"];
        other
            .call(&[&["import", &good, "--trust", &key][..], &words].concat())
            .ok();
        let file = place.directory().join("stranger.tar").display().to_string();
        other
            .call(&[&["export", "--uncompressed", "--out", &file][..], &words].concat())
            .ok();
        members(&fs::read(&file).expect("read"))
    };
    let foreign = |whole: bool| {
        changed(&|parts: &mut Vec<Member>| {
            parts[2] = stranger[2].clone();
            if whole {
                parts[1] = stranger[1].clone();
            }
        })
    };
    let without_key = format!("\"public_key\":\"{key}\",");
    let mut unsigned = members(&edited(&parts, &without_key, ""));
    unsigned.drain(1..3);
    let mut window = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3];
    window.extend([1, 0, 0]);
    let swapped = changed(&|parts| parts.swap(pack, pack - 1));
    let twice = changed(&|parts| parts.insert(pack, parts[pack].clone()));
    let missing = changed(&|parts| drop(parts.remove(pack)));
    let cases: Vec<(&str, Vec<u8>, i32)> = vec![
        ("bundle/truncated", bytes[..bytes.len() / 2].to_vec(), 5),
        ("bundle/truncated", bytes[..bytes.len() - 1].to_vec(), 5),
        ("bundle/trailing", [&bytes[..], b"x"].concat(), 5),
        ("bundle/not-a-bundle", b"something else".repeat(100), 5),
        ("bundle/order", swapped, 5),
        ("bundle/order", twice, 5),
        ("bundle/order", missing, 5),
        ("bundle/digest", flipped(pack, 40), 5),
        ("bundle/digest", flipped(named("branches.json"), 20), 5),
        ("bundle/digest", flipped(named("snapshots/000001"), 20), 5),
        ("bundle/signature", flipped(1, 7), 5),
        ("bundle/signature", foreign(false), 5),
        ("bundle/signature", foreign(true), 5),
        (
            "bundle/signature",
            edited(&parts, "\"created_at\":1", "\"created_at\":1"),
            0,
        ),
        (
            "bundle/signature",
            edited(&parts, "\"record_count\":", "\"record_count\":1"),
            5,
        ),
        (
            "bundle/version",
            edited(&parts, "\"bundle_version\":1", "\"bundle_version\":2"),
            2,
        ),
        (
            "bundle/path",
            edited(&parts, "\"config/tenant.json\"", "\"../../etc/passwd\""),
            5,
        ),
        (
            "bundle/path",
            edited(&parts, "\"length\":", "\"length\":99999999"),
            5,
        ),
        (
            "bundle/malformed",
            edited(&parts, "{\"bundle", "{ \"bundle"),
            5,
        ),
        ("bundle/unsigned", tar(&unsigned), 6),
        ("bundle/bomb", window, 5),
    ];
    for (code, bytes, exit) in cases {
        let file = place.directory().join("hostile").display().to_string();
        fs::write(&file, &bytes).expect("write");
        if exit == 0 {
            // Not changed at all: how the others were made changes nothing else.
            place.cli().call(&["verify", &file]).ok();
            continue;
        }
        let refused = import(place, &own, &file, &["--trust", &key])
            .exits(exit)
            .says(code);
        assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
        if code != "bundle/unsigned" {
            place.cli().call(&["verify", &file]).exits(exit).says(code);
        }
        assert_nothing(place, &own.data);
    }
    // Who takes it unsigned does so knowingly, and gets all of it.
    let file = place.directory().join("unsigned.tar").display().to_string();
    fs::write(&file, tar(&unsigned)).expect("write");
    import(place, &own, &file, &["--trust-unsigned"]).ok();
    import(place, &own, &good, &["--trust", &key])
        .ok()
        .says("unchanged");
}
