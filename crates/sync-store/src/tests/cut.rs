//! Streams that break off, and streams that are no packs.

use std::task::Poll;

use bytes::Bytes;
use futures_util::stream;
use proptest::prelude::*;
use sync_core::Digest;

use super::fixture::{Tree, advance, complete, pack, push, receive, tenant, unpack};
use crate::pack::{BlockHeader, HEADER_LEN, MAGIC, MAX_OBJECT, PackError, narrow};
use crate::protocol::prefix;
use crate::{Class, Error, Repository};

/// Where each block of a pack ends, the magic and the end block included.
fn boundaries(pack: &[u8]) -> Vec<usize> {
    let mut ends = vec![MAGIC.len()];
    loop {
        let start = *ends.last().unwrap();
        let Some(Ok(header)) = pack[start..]
            .first_chunk::<HEADER_LEN>()
            .map(BlockHeader::decode)
        else {
            ends.push(pack.len());
            return ends;
        };
        ends.push(start + header.total_len());
    }
}

/// Cuts the stream at `at`: what the complete blocks held is kept, the rest is missing, and sending that repairs it.
async fn check(tree: &Tree, at: usize, by_error: bool) {
    let repository = tenant().await;
    let snapshot = tree.snapshot(&[]);
    let (id, _) = snapshot.encode().unwrap();
    let objects = tree.objects(&snapshot);
    let whole = pack(&objects);
    let mut pieces: Vec<Result<Bytes, std::io::Error>> = whole[..at]
        .chunks(5000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    if by_error {
        pieces.push(Err(std::io::Error::other("reset")));
    }
    let cut = repository.receive(stream::iter(pieces)).await;
    assert!(matches!(cut, Err(Error::Cut { .. })), "at {at}: {cut:?}");

    let kept = boundaries(&whole)
        .into_iter()
        .filter(|end| *end <= at && *end < whole.len());
    let kept = kept.max().unwrap_or(MAGIC.len());
    let mut complete_part = whole[..kept].to_vec();
    complete_part.extend_from_slice(&end_of(&complete_part));
    let kept = unpack(&complete_part);

    let digests: Vec<_> = objects
        .iter()
        .map(|(_, object)| Digest::of(object))
        .collect();
    let prefixes: Vec<_> = digests.iter().map(prefix).collect();
    let missing = repository.missing(&prefixes).await.unwrap();
    let mut rest = Vec::new();
    for ((object, digest), missing) in objects.into_iter().zip(digests).zip(missing) {
        assert_eq!(missing, !kept.contains_key(&digest), "at {at}: {digest}");
        if missing {
            rest.push(object);
        }
    }
    let received = receive(&repository, &pack(&rest)).await.unwrap();
    repository
        .advance(received, advance(None, id))
        .await
        .unwrap();
    complete(&repository, id, tree).await;
}

/// An honest end block.
fn end_of(before: &[u8]) -> Vec<u8> {
    let mut count = 0u32;
    let mut at = MAGIC.len();
    while at < before.len() {
        let header = before[at..].first_chunk::<HEADER_LEN>().unwrap();
        let header = BlockHeader::decode(header).unwrap();
        count += header.count;
        at += header.total_len();
    }
    let lengths = [32, 32, count].map(u32::to_le_bytes).concat();
    [&[0; 4], &lengths[..], Digest::of(before).as_bytes()].concat()
}

#[tokio::test]
async fn a_stream_that_is_cut_at_a_block_keeps_the_blocks_before() {
    let tree = Tree::numbered(2400);
    let whole = pack(&tree.objects(&tree.snapshot(&[])));
    let ends = boundaries(&whole);
    assert!(ends.len() > 4, "{ends:?}");
    for end in ends {
        for at in [end.saturating_sub(1), end, end + 1] {
            if at < whole.len() {
                check(&tree, at, false).await;
                check(&tree, at, true).await;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_stream_that_is_cut_anywhere_keeps_what_is_complete(at: prop::sample::Index, by_error: bool) {
        let tree = Tree::numbered(1500);
        let whole = pack(&tree.objects(&tree.snapshot(&[])));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(check(&tree, at.index(whole.len()), by_error));
    }
}

/// A stream whose end is a failure although the pack is complete is cut all the same, and everything of it is kept.
#[tokio::test]
async fn a_failure_after_the_end_is_a_cut() {
    let repository = tenant().await;
    let pack = pack(&[(Class::Contents, b"kept".to_vec())]);
    let pieces = [Ok(Bytes::from(pack)), Err(std::io::Error::other("reset"))];
    let cut = repository.receive(stream::iter(pieces)).await;
    assert!(matches!(cut, Err(Error::Cut { .. })));
    let kept = repository.object(&Digest::of(b"kept")).await.unwrap();
    assert!(kept.is_some());
}

/// Whoever receives goes away in the middle, as a server's handler does when its connection closes.
#[tokio::test]
async fn a_receiver_that_is_dropped_keeps_what_is_complete() {
    let repository = tenant().await;
    let pack = pack(&[(Class::Contents, b"kept".to_vec())]);
    let piece = Bytes::copy_from_slice(&pack[..pack.len() - 10]);
    let (taken, waiting) = tokio::sync::oneshot::channel();
    let mut taken = Some(taken);
    let mut piece = Some(piece);
    let stream = stream::poll_fn(move |_| {
        if let Some(piece) = piece.take() {
            return Poll::Ready(Some(Ok::<_, std::io::Error>(piece)));
        }
        // The piece is on its way to the worker; nothing more comes.
        taken.take().map(|taken| taken.send(()));
        Poll::Pending
    });
    let receiving = {
        let repository = repository.clone();
        tokio::spawn(async move { repository.receive(stream).await.map(drop) })
    };
    waiting.await.unwrap();
    receiving.abort();
    assert!(receiving.await.unwrap_err().is_cancelled());
    // The worker records on its own; asking is all there is to wait by.
    while repository
        .object(&Digest::of(b"kept"))
        .await
        .unwrap()
        .is_none()
    {
        tokio::task::yield_now().await;
    }
}

#[track_caller]
fn is_pack_error(result: Result<crate::Received, Error>, expected: &PackError) {
    match result {
        Err(Error::Pack { source }) => assert_eq!(&source, expected),
        other => panic!("{other:?} instead of {expected:?}"),
    }
}

/// Nothing of such a stream is recorded, not even the honest block in front.
async fn refused(repository: &Repository, block: &[u8], after: &[u8], expected: PackError) {
    let honest = pack(&[(Class::Contents, b"honest".to_vec())]);
    let front = boundaries(&honest)[1];
    let mut stream = [&honest[..front], block].concat();
    if after.is_empty() {
        stream.extend_from_slice(&end_of(&honest[..front]));
    }
    stream.extend_from_slice(after);
    is_pack_error(receive(repository, &stream).await, &expected);
    assert!(repository.is_vacant().await.unwrap(), "{expected:?}");
}

fn block(codec: u8, class: u8, raw_len: usize, payload: &[u8], count: u32) -> Vec<u8> {
    let lengths = [narrow(raw_len), narrow(payload.len()), count];
    let lengths = lengths.map(u32::to_le_bytes).concat();
    [&[codec, class, 0, 0], &lengths[..], payload].concat()
}

#[tokio::test]
async fn hostile_streams_are_refused_by_name_and_leave_nothing() {
    let repository = tenant().await;
    let refuse = async |hostile: Vec<u8>, expected| {
        refused(&repository, &hostile, &[1], expected).await;
    };
    let bomb = zstd::bulk::compress(&vec![0; 8 << 20], 3).unwrap();
    refuse(
        block(1, 2, 1 << 20, &bomb, 1),
        PackError::Inflate { raw_len: 1 << 20 },
    )
    .await;
    refuse(
        block(1, 2, 3 << 20, &bomb, 1),
        PackError::RawLen { raw_len: 3 << 20 },
    )
    .await;
    refuse(
        block(7, 2, 4, b"\x03abc", 1),
        PackError::UnknownCodec { codec: 7 },
    )
    .await;
    refuse(
        block(0, 9, 4, b"\x03abc", 1),
        PackError::UnknownClass { class: 9 },
    )
    .await;
    refuse(block(0, 2, 4, b"\x03abc", 2), PackError::Count { count: 2 }).await;
    refuse(block(0, 2, 4, b"\x04abc", 1), PackError::ObjectLen).await;
    let mut large = Vec::new();
    sync_core::wire::put_bytes(&mut large, &vec![7; MAX_OBJECT + 1]);
    refuse(block(0, 2, large.len(), &large, 1), PackError::ObjectLen).await;
    // A count in the end block that leaves one object out; garbage after an honest end; a wrong digest.
    let end = end_of(&pack(&[(Class::Contents, b"honest".to_vec())])[..31]);
    assert_eq!(end.len(), 48);
    let none = [&end[..12], &[0; 4], &end[16..]].concat();
    refused(&repository, &[], &none, PackError::End).await;
    refused(
        &repository,
        &[],
        &[&end[..], b"x"].concat(),
        PackError::Trailing,
    )
    .await;
    let wrong = [&end[..47], &[end[47] ^ 1]].concat();
    refused(&repository, &[], &wrong, PackError::Digest).await;
    is_pack_error(
        receive(&repository, b"GET / HTTP/1.1").await,
        &PackError::Magic,
    );
    assert!(repository.is_vacant().await.unwrap());
    // And after all of that an honest push is fine.
    push(&repository, &Tree::numbered(50), None).await.unwrap();
}
