//! A bundle as a file: what is read is exactly what an export writes, however the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_bundle::file::FileReader;
use sync_bundle::manifest::{MANIFEST, bundle_digest};
use sync_bundle::{Event, Manifest, Reader, tar};

/// A tar whose manifest stands in a right header: mutations reach what follows.
fn framed(rest: &[u8]) -> Vec<u8> {
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let (json, members) = rest.split_at(end);
    let seconds = Manifest::decode(json).map_or(0, |manifest| manifest.created_at / 1000);
    let len = json.len() as u64;
    let mut out = tar::header(MANIFEST, len, seconds).to_vec();
    out.extend_from_slice(json);
    out.resize(out.len() + tar::padding(len), 0);
    out.extend_from_slice(members.get(1..).unwrap_or_default());
    out
}

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how the rest is cut, and how much of it is made right.
    let Some((how, rest)) = bytes.split_first() else {
        return;
    };
    let file = match how % 2 {
        0 => rest.to_vec(),
        _ => framed(rest),
    };
    let Ok(mut unwrapped) = FileReader::new(&file[..]) else {
        return;
    };
    let mut reader = Reader::default();
    let mut buffer = vec![0; usize::from(*how) + 1];
    let (mut open, mut expected, mut came) = (None, 0, 0);
    loop {
        let count = match unwrapped.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        reader.feed(&buffer[..count]);
        loop {
            match reader.next_event() {
                Ok(None) => break,
                Err(_) => return,
                Ok(Some(Event::Opening(opening))) => {
                    let manifest = &opening.manifest;
                    assert_eq!(bundle_digest(&manifest.members), manifest.bundle_digest);
                    assert_eq!(Manifest::decode(&manifest.encode()).ok().as_ref(), Some(manifest));
                    expected = manifest.total_bytes();
                }
                Ok(Some(Event::Begin(index))) => assert_eq!(open.replace(index), None),
                Ok(Some(Event::Piece(piece))) => came += piece.len() as u64,
                Ok(Some(Event::End)) => assert!(open.take().is_some()),
                Ok(Some(Event::Done)) => assert_eq!(came, expected),
            }
        }
    }
    let _ = reader.finish();
});
