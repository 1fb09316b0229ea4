//! A tarball of a legacy client: what is taken is whole, whatever its headers claim and however it is cut.
#![no_main]

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;
use sync_server::fuzzing;
use tar::Header;

const BLOCK: usize = 512;

/// Makes the checksums of headers right, so that mutations reach what follows.
fn summed(tar: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    let mut at = 0;
    while let Some(block) = tar[at..].first_chunk_mut::<BLOCK>() {
        if *block != [0; BLOCK] {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let size = Header::from_byte_slice(block).entry_size().unwrap_or(0);
        let left = tar.len() - at - BLOCK;
        let size = usize::try_from(size).unwrap_or(left).min(left);
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
    tar
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(tar).expect("memory takes everything");
    gzip.finish().expect("memory takes everything")
}

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how the rest is cut, and how much of it is made right.
    let Some((how, rest)) = bytes.split_first() else {
        return;
    };
    let body = match how % 3 {
        0 => rest.to_vec(),
        1 => gzip(rest),
        _ => gzip(&[summed(rest), vec![0; 2 * BLOCK]].concat()),
    };
    if let Ok((files, contents)) = fuzzing::tarball(&body, usize::from(*how) + 1) {
        let sizes: u64 = files.iter().map(|(_, size)| size).sum();
        assert_eq!(sizes, contents);
        for (path, _) in &files {
            let mut segments = path.as_str().split('/');
            assert!(segments.all(|segment| !matches!(segment, "" | "." | "..")));
        }
    }
});
