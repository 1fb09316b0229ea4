//! A pack as a stream that arrives in pieces: every block is within its bounds, however the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_store::pack::{Event, MAGIC, MAX_COUNT, MAX_RAW, PackDecoder, Patch};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut decoder) = PackDecoder::new() else {
        return;
    };
    // The first byte says how the rest is cut; the magic is given, so that mutations reach what follows.
    let (cut, rest) = bytes.split_first().unwrap_or((&1, bytes));
    let size = usize::from(*cut).max(1);
    let mut blocks = 0;
    for piece in MAGIC.chunks(size).chain(rest.chunks(size)) {
        decoder.push(piece);
        loop {
            match decoder.next_event() {
                Ok(Some(Event::Block(block))) => {
                    blocks += 1;
                    assert!(block.raw.len() <= MAX_RAW && block.spans.len() <= MAX_COUNT as usize);
                    assert_eq!(block.objects().len(), block.spans.len());
                }
                Ok(Some(Event::Patches(patches))) => {
                    blocks += 1;
                    let made: usize = patches.patches.iter().map(Patch::result_len).sum();
                    assert!(made <= MAX_RAW);
                    for patch in &patches.patches {
                        if let Ok(object) = patch.apply(rest) {
                            assert_eq!(object.len(), patch.result_len());
                        }
                    }
                }
                Ok(Some(Event::End { .. })) => assert!(decoder.finish().is_ok()),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(blocks <= rest.len());
});
