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

/// A bundle that is no bundle: the code under which it is refused, its bytes, and the exit code.
type Case = (&'static str, Vec<u8>, i32);

/// What is done to the members of a bundle.
struct Workshop {
    parts: Vec<Member>,
    pack: usize,
}

impl Workshop {
    #[track_caller]
    fn named(&self, path: &str) -> usize {
        let mut headers = self.parts.iter().map(|(header, _)| header);
        let at = headers.position(|header| header.starts_with(path.as_bytes()));
        at.expect("a member")
    }

    fn changed(&self, change: impl FnOnce(&mut Vec<Member>)) -> Vec<u8> {
        let mut parts = self.parts.clone();
        change(&mut parts);
        tar(&parts)
    }

    fn flipped(&self, member: usize, at: usize) -> Vec<u8> {
        self.changed(|parts| parts[member].1[at] ^= 1)
    }

    /// Out of shape.
    fn shapes(&self, bytes: &[u8]) -> Vec<Case> {
        let pack = self.pack;
        let mut window = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3];
        window.extend([1, 0, 0]);
        vec![
            ("bundle/truncated", bytes[..bytes.len() / 2].to_vec(), 5),
            ("bundle/truncated", bytes[..bytes.len() - 1].to_vec(), 5),
            ("bundle/trailing", [bytes, b"x"].concat(), 5),
            ("bundle/not-a-bundle", b"something else".repeat(100), 5),
            ("bundle/bomb", window, 5),
            (
                "bundle/order",
                self.changed(|parts| parts.swap(pack, pack - 1)),
                5,
            ),
            (
                "bundle/order",
                self.changed(|parts| parts.insert(pack, parts[pack].clone())),
                5,
            ),
            (
                "bundle/order",
                self.changed(|parts| drop(parts.remove(pack))),
                5,
            ),
            ("bundle/digest", self.flipped(pack, 40), 5),
            (
                "bundle/digest",
                self.flipped(self.named("branches.json"), 20),
                5,
            ),
            (
                "bundle/digest",
                self.flipped(self.named("snapshots/000001"), 20),
                5,
            ),
            ("bundle/signature", self.flipped(1, 7), 5),
        ]
    }

    /// With another manifest.
    fn lies(&self) -> Vec<Case> {
        let edit = |from, to| edited(&self.parts, from, to);
        vec![
            (
                "bundle/signature",
                edit("\"record_count\":", "\"record_count\":1"),
                5,
            ),
            (
                "bundle/version",
                edit("\"bundle_version\":1", "\"bundle_version\":2"),
                2,
            ),
            (
                "bundle/path",
                edit("\"config/tenant.json\"", "\"../../etc/passwd\""),
                5,
            ),
            ("bundle/path", edit("\"length\":", "\"length\":99999999"), 5),
            ("bundle/malformed", edit("{\"bundle", "{ \"bundle"), 5),
        ]
    }

    /// With the key, or all that it signed, of a stranger.
    fn forged(&self, stranger: &[Member]) -> Vec<Case> {
        let with = |first: usize| {
            self.changed(|parts| parts[first..3].clone_from_slice(&stranger[first..3]))
        };
        vec![
            ("bundle/signature", with(2), 5),
            ("bundle/signature", with(1), 5),
        ]
    }
}

/// A bundle of the same that somebody else signed.
#[track_caller]
fn stranger(place: &Place, good: &str) -> Vec<Member> {
    let other = place.cli();
    let data = place.directory().join("stranger").display().to_string();
    let words = ["tenant", "create", "stranger", "--data", &data];
    other.call(&words).ok();
    let at = ["--data", &data, "--tenant", "stranger"];
    let words = ["import", good, "--trust-unsigned"];
    other.call(&[&words[..], &at].concat()).ok();
    let file = place.directory().join("stranger.tar").display().to_string();
    let words = ["export", "--uncompressed", "--out", &file];
    other.call(&[&words[..], &at].concat()).ok();
    members(&fs::read(&file).expect("read"))
}

pub(super) fn hostile_bundles_leave_nothing(place: &Place) {
    let _here = source(place);
    let own = place.own_server();
    let good = export(place, "good.tar", &["--uncompressed"]);
    let key = signer(place, &good);
    let bytes = fs::read(&good).expect("read");
    let parts = members(&bytes);
    // Taking apart and putting together changes nothing else.
    assert!(tar(&parts) == bytes && edited(&parts, "{", "{") == bytes);
    let mut workshop = Workshop { parts, pack: 0 };
    workshop.pack = workshop.named("packs/000001.pack");
    let without_key = format!("\"public_key\":\"{key}\",");
    let mut unsigned = members(&edited(&workshop.parts, &without_key, ""));
    unsigned.drain(1..3);
    let mut cases = workshop.shapes(&bytes);
    cases.extend(workshop.lies());
    cases.extend(workshop.forged(&stranger(place, &good)));
    cases.push(("bundle/unsigned", tar(&unsigned), 6));
    for (code, bytes, exit) in cases {
        let file = place.directory().join("hostile").display().to_string();
        fs::write(&file, &bytes).expect("write");
        let refused = import(place, &own, &file, &["--trust", &key]);
        let refused = refused.exits(exit).says(code);
        assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
        if code != "bundle/unsigned" {
            let verified = place.cli().call(&["verify", &file]);
            verified.exits(exit).says(code);
        }
        assert_nothing(place, &own.data);
    }
    // Who takes it unsigned does so knowingly, and gets all of it.
    let file = place.directory().join("unsigned.tar").display().to_string();
    fs::write(&file, tar(&unsigned)).expect("write");
    import(place, &own, &file, &["--trust-unsigned"]).ok();
    let again = import(place, &own, &good, &["--trust", &key]);
    again.ok().says("unchanged");
}
