//! Packs are written and read back, and hostile ones are refused by name.

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use sync_core::Digest;
use sync_core::wire::put_bytes;

use super::*;

/// Splits `pack` into pieces of `step` bytes, and gives the objects with their classes.
fn read(pack: &[u8], step: usize) -> Result<Vec<(Class, Bytes)>, PackError> {
    let mut decoder = PackDecoder::new()?;
    let mut objects = Vec::new();
    for piece in pack.chunks(step) {
        decoder.push(piece);
        while let Some(event) = decoder.next_event()? {
            match event {
                Event::Block(block) => {
                    objects.extend(block.objects().map(|object| (block.header.class, object)));
                }
                Event::Patches(Patches { class, patches }) => {
                    for patch in patches {
                        objects.push((class, patch.apply(&BASE)?.into()));
                    }
                }
                Event::End { .. } => {}
            }
        }
    }
    decoder.finish()?;
    Ok(objects)
}

/// What patches here are applied to, whatever they name: nothing here looks a base up.
static BASE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let number = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes();
    (0..5000).flat_map(number).collect()
});

fn write(objects: &[(Class, Vec<u8>)]) -> Vec<u8> {
    let mut writer = PackWriter::new().unwrap();
    for (class, object) in objects {
        writer.add(*class, object).unwrap();
    }
    writer.finish().unwrap().concat()
}

fn objects() -> impl Strategy<Value = Vec<(Class, Vec<u8>)>> {
    let class = prop_oneof![Just(Class::Nodes), Just(Class::Contents)];
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..600),
        (any::<u8>(), 1..100_000usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    prop::collection::vec((class, bytes), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read(objects in objects(), step in 1..5000usize) {
        let pack = write(&objects);
        let mut read = read(&pack, step).unwrap();
        // Order is kept within a class; the classes are in blocks of their own.
        let mut wanted: Vec<_> = objects.into_iter().map(|(c, o)| (c, Bytes::from(o))).collect();
        wanted.sort_by_key(|(class, _)| *class);
        read.sort_by_key(|(class, _)| *class);
        prop_assert_eq!(read, wanted);
    }

    #[test]
    fn what_was_written_as_patches_is_read(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
        step in 1..5000usize,
    ) {
        let base = Digest::of(&BASE);
        let mut writer = PackWriter::new().unwrap();
        let mut wanted = Vec::new();
        for (number, (at, byte)) in cuts.into_iter().enumerate() {
            let class = if number % 3 == 0 { Class::Nodes } else { Class::Contents };
            let mut object = BASE.clone();
            object[at.index(BASE.len())] = byte;
            let patch = Patch::between(base, &BASE, &object).unwrap();
            prop_assert_eq!((patch.base(), patch.result_len()), (base, BASE.len()));
            writer.add_patch(class, &patch).unwrap();
            wanted.push((class, Bytes::from(object)));
        }
        let pack = writer.finish().unwrap().concat();
        prop_assert!(pack.len() < 120 * wanted.len() + 200);
        let mut read = read(&pack, step).unwrap();
        wanted.sort_by_key(|(class, _)| *class);
        read.sort_by_key(|(class, _)| *class);
        prop_assert_eq!(read, wanted);
    }

    #[test]
    fn a_flipped_bit_is_never_read(objects in objects(), at: prop::sample::Index, bit in 0..8u8) {
        let mut pack = write(&objects);
        let at = at.index(pack.len());
        pack[at] ^= 1 << bit;
        prop_assert!(read(&pack, 4096).is_err());
    }

    #[test]
    fn a_prefix_is_cut_and_nothing_else(objects in objects(), at: prop::sample::Index) {
        let pack = write(&objects);
        let cut = &pack[..at.index(pack.len())];
        prop_assert_eq!(read(cut, 1000), Err(PackError::Cut));
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes: Vec<u8>) {
        let hostile = [&MAGIC[..], &bytes].concat();
        prop_assert!(read(&hostile, 7).is_err());
    }
}

fn header(codec: u8, class: u8, raw_len: u32, stored_len: u32, count: u32) -> Vec<u8> {
    let mut out = vec![codec, class, 0, 0];
    for length in [raw_len, stored_len, count] {
        out.extend_from_slice(&length.to_le_bytes());
    }
    out
}

fn end(before: &[u8], count: u32) -> Vec<u8> {
    [
        header(0, 0, 32, 32, count),
        Digest::of(before).as_bytes().to_vec(),
    ]
    .concat()
}

/// A pack of the one given block with an honest frame around it.
fn framed(block: &[u8], count: u32) -> Vec<u8> {
    let before = [&MAGIC[..], block].concat();
    let end = end(&before, count);
    [before, end].concat()
}

#[track_caller]
fn check(pack: &[u8], expected: &PackError) {
    for step in [1, 13, pack.len().max(1)] {
        assert_eq!(
            read(pack, step),
            Err(expected.clone()),
            "in steps of {step}"
        );
    }
}

fn zstd(raw: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(raw, 3).unwrap()
}

#[test]
fn hostile_frames_are_refused_by_name() {
    check(b"", &PackError::Cut);
    check(b"SYNCPK2\n", &PackError::Magic);
    check(b"x", &PackError::Magic);
    check(&MAGIC, &PackError::Cut);
    let empty = framed(b"", 0);
    assert_eq!(read(&empty, 5), Ok(vec![]));
    check(&[&empty[..], &[0]].concat(), &PackError::Trailing);
    check(&framed(b"", 1), &PackError::End);
    check(
        &[&MAGIC[..], &header(0, 0, 31, 32, 0)].concat(),
        &PackError::End,
    );
    let mut wrong = empty.clone();
    *wrong.last_mut().unwrap() ^= 1;
    check(&wrong, &PackError::Digest);
    let mut reserved = empty;
    reserved[10] = 1;
    check(&reserved, &PackError::Reserved);
}

#[test]
fn hostile_headers_are_refused_before_their_payload_is_read() {
    #[track_caller]
    fn case(header: Vec<u8>, expected: &PackError) {
        check(&[MAGIC.to_vec(), header].concat(), expected);
    }
    let (raw, max) = (narrow(MAX_RAW), u32::MAX);
    case(header(2, 1, 9, 9, 1), &PackError::UnknownCodec { codec: 2 });
    case(header(0, 3, 9, 9, 1), &PackError::UnknownClass { class: 3 });
    case(header(1, 0, 9, 9, 1), &PackError::UnknownClass { class: 0 });
    case(header(0, 1, 0, 0, 1), &PackError::RawLen { raw_len: 0 });
    for raw_len in [raw + 1, max] {
        case(header(1, 1, raw_len, 9, 1), &PackError::RawLen { raw_len });
    }
    let stored = |raw_len, stored_len| PackError::StoredLen {
        raw_len,
        stored_len,
    };
    case(header(0, 1, 9, 8, 1), &stored(9, 8));
    case(header(1, 1, 9, 9, 1), &stored(9, 9));
    case(header(1, 1, 9, 0, 1), &stored(9, 0));
    case(header(1, 1, raw, max, 1), &stored(raw, max));
    for count in [0, MAX_COUNT + 1, max] {
        case(header(0, 1, 9, 9, count), &PackError::Count { count });
    }
    for reserved in [[2, 0], [0, 1], [1, 1]] {
        let mut header = header(0, 1, 9, 9, 1);
        header[2..4].copy_from_slice(&reserved);
        case(header, &PackError::Reserved);
    }
    // A payload that goes beyond the stream.
    case(header(0, 1, 9, 9, 1), &PackError::Cut);
}

#[test]
fn hostile_payloads_are_refused_by_name() {
    #[track_caller]
    fn case(codec: u8, raw_len: usize, payload: &[u8], count: u32, expected: &PackError) {
        let header = header(codec, 2, narrow(raw_len), narrow(payload.len()), count);
        check(&framed(&[&header[..], payload].concat(), count), expected);
    }
    let object = |bytes: &[u8]| {
        let mut raw = Vec::new();
        put_bytes(&mut raw, bytes);
        raw
    };
    let raw = object(&[7; 1000]);
    let inflate = |raw_len: usize| PackError::Inflate {
        raw_len: narrow(raw_len),
    };
    // A bomb: a small frame that inflates to far more than it claims; and one that claims more than it has.
    case(1, 1000, &zstd(&vec![0; 64 << 20])[..900], 1, &inflate(1000));
    case(1, 900, &zstd(&raw), 1, &inflate(900));
    case(1, 1100, &zstd(&raw), 1, &inflate(1100));
    // Two frames, a cut frame, no frame.
    let two = [zstd(&raw[..500]), zstd(&raw[500..])].concat();
    case(1, raw.len(), &two, 1, &inflate(raw.len()));
    case(1, raw.len(), &zstd(&raw)[..10], 1, &inflate(raw.len()));
    case(1, raw.len(), b"no frame", 1, &inflate(raw.len()));
    // Numbers and lengths of objects.
    case(0, raw.len(), &raw, 2, &PackError::Count { count: 2 });
    let twice = [&raw[..], &raw].concat();
    case(0, twice.len(), &twice, 1, &PackError::Count { count: 1 });
    case(
        0,
        raw.len() - 1,
        &raw[..raw.len() - 1],
        1,
        &PackError::ObjectLen,
    );
    case(0, 1, &[0], 1, &PackError::ObjectLen);
    case(0, 2, &[0x81, 0], 1, &PackError::ObjectLen);
    let long = object(&vec![1; MAX_OBJECT + 1]);
    case(0, long.len(), &long, 1, &PackError::ObjectLen);
}

/// A raw block of patches, which are given as they stand there.
fn patches(items: &[Vec<u8>]) -> Vec<u8> {
    let mut raw = Vec::new();
    for item in items {
        put_bytes(&mut raw, item);
    }
    let mut block = header(
        0,
        2,
        narrow(raw.len()),
        narrow(raw.len()),
        narrow(items.len()),
    );
    block[2] = Form::Patches as u8;
    [block, raw].concat()
}

#[test]
fn hostile_patches_are_refused_by_name() {
    #[track_caller]
    fn case(items: &[Vec<u8>], expected: &PackError) {
        check(&framed(&patches(items), narrow(items.len())), expected);
    }
    let base = Digest::of(&BASE);
    let patch = |bytes: &[u8]| [base.as_bytes(), bytes].concat();
    let malformed = |bytes: &[u8]| PackError::Patch {
        base,
        source: sync_core::patch::apply(&BASE, bytes, MAX_OBJECT).unwrap_err(),
    };
    // No whole digest; nothing after it; an object of no bytes; one that is longer than any.
    case(&[vec![7; 31]], &PackError::PatchLen);
    case(&[patch(&[])], &PackError::PatchLen);
    case(&[patch(&[0])], &PackError::PatchLen);
    case(&[patch(&[0x81, 0x80, 0x40, 0, 1, 0])], &PackError::PatchLen);
    // Small patches that each make a whole MiB: a third one is more than a block may hold.
    let mut large = vec![0x80, 0x80, 0x40];
    for _ in 0..64 {
        large.extend_from_slice(&[0, 0x80, 0x80, 0x01, 0]);
    }
    case(
        &[patch(&large), patch(&large), patch(&[1, 1, 9])],
        &PackError::PatchLen,
    );
    // Beyond the base, and too short.
    for bytes in [&[9, 0, 9, 0xa0, 0x9c, 0x01][..], &[9, 0, 8, 0]] {
        case(&[patch(bytes)], &malformed(bytes));
    }
    // No stored block has patches.
    let block = patches(&[patch(&[1, 1, 9])]);
    let decoded = BlockDecoder::new().unwrap().decode(block.into());
    assert_eq!(decoded.err(), Some(PackError::Stored));
}

#[test]
fn a_patch_that_saves_little_is_none() {
    let base = Digest::of(&BASE);
    let target = |len: usize| [&BASE[..len], &[1; 500]].concat();
    assert_eq!(Patch::between(base, &BASE, &target(100)), None);
    assert!(Patch::between(base, &BASE, &target(3000)).is_some());
    assert_eq!(Patch::between(base, &BASE, b""), None);
    let signature = sync_core::patch::Signature::of(&BASE);
    assert_eq!(Patch::from_signature(base, &signature, &target(1000)), None);
    assert!(Patch::from_signature(base, &signature, &target(6000)).is_some());
}

#[test]
fn blocks_of_patches_are_closed_by_what_they_make() {
    let (base, object) = (Digest::of(&BASE), vec![5; MAX_OBJECT]);
    let patch = Patch::between(base, &object, &object).unwrap();
    let mut writer = PackWriter::new().unwrap();
    for _ in 0..5 {
        writer.add_patch(Class::Contents, &patch).unwrap();
    }
    let pack = writer.finish().unwrap().concat();
    let mut decoder = PackDecoder::new().unwrap();
    decoder.push(&pack);
    let mut blocks = Vec::new();
    while let Some(event) = decoder.next_event().unwrap() {
        if let Event::Patches(patches) = event {
            blocks.push(patches.patches.len());
        }
    }
    assert_eq!(blocks, [2, 2, 1]);
}

#[test]
fn the_largest_object_travels_and_one_byte_more_does_not() {
    let mut writer = PackWriter::new().unwrap();
    writer.add(Class::Contents, &vec![1; MAX_OBJECT]).unwrap();
    for bad in [vec![], vec![1; MAX_OBJECT + 1]] {
        assert_eq!(writer.add(Class::Contents, &bad), Err(PackError::ObjectLen));
    }
    let pack = writer.finish().unwrap().concat();
    assert_eq!(read(&pack, 9999).unwrap().len(), 1);
}

#[test]
fn blocks_are_closed_by_size_and_by_number() {
    let mut builder = BlockBuilder::new(Class::Contents).unwrap();
    let mut closed = Vec::new();
    for n in 0..MAX_COUNT + 5 {
        closed.extend(builder.add(&n.to_le_bytes()).unwrap());
    }
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].spans.len(), MAX_COUNT as usize);
    let rest = builder.finish().unwrap().unwrap();
    assert_eq!(rest.spans.len(), 5);
    assert!(builder.finish().unwrap().is_none());
    let large = vec![1; 200 << 10];
    builder.add(&large).unwrap();
    assert!(builder.add(&large).unwrap().is_some());
    // A node is looked for alone: its block is smaller.
    for (class, together) in [(Class::Contents, true), (Class::Nodes, false)] {
        let mut builder = BlockBuilder::new(class).unwrap();
        let half = vec![1; 40 << 10];
        builder.add(&half).unwrap();
        assert_eq!(builder.add(&half).unwrap().is_none(), together);
    }
}

/// A test vector of `docs/formats.md`.
fn documented(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, vector) = text.split_once(&format!("```vector {name}\n")).unwrap();
    let (vector, _) = vector.split_once("```").unwrap();
    let digits: Vec<char> = vector.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn bytes_are_those_that_are_documented() {
    let objects = [
        (Class::Nodes, vec![b'a'; 40]),
        (Class::Contents, b"hello".to_vec()),
    ];
    let pack = documented("store/pack");
    assert_eq!(write(&objects), pack);
    let objects = objects.map(|(class, object)| (class, Bytes::from(object)));
    assert_eq!(read(&pack, 10).unwrap(), objects);

    let base = b"0123456789".repeat(10);
    let target = [&base[..], b"!"].concat();
    let patch = Patch::between(Digest::of(&base), &base, &target).unwrap();
    let mut writer = PackWriter::new().unwrap();
    writer.add_patch(Class::Contents, &patch).unwrap();
    assert_eq!(
        writer.finish().unwrap().concat(),
        documented("store/patches")
    );
}
