//! Patches: which ranges of a base a target has.

use super::index::Index;
use super::signature::Window;
use super::{Copy, Signature, encode};

/// Bytes of a block where both versions are at hand: shorter matches save little.
const BLOCK: usize = 16;

/// A patch from `base` to `target`, which fits in a few memory's worth of both.
pub fn between(base: &[u8], target: &[u8]) -> Vec<u8> {
    let signature = Signature::with_block(base, BLOCK);
    encode(target, &copies(&signature, Some(base), target))
}

/// A patch to `target` from a base of which only the signature is known.
pub fn from_signature(signature: &Signature, target: &[u8]) -> Vec<u8> {
    encode(target, &copies(signature, None, target))
}

/// What `target` has in common with a base, in the order of the target. Where the base is at hand, matches are
/// compared byte by byte and as long as they can be.
fn copies(signature: &Signature, base: Option<&[u8]>, target: &[u8]) -> Vec<Copy> {
    let index = Index::new(signature);
    let block = signature.block;
    let mut found = Vec::<Copy>::new();
    let mut at = 0;
    let mut window = None;
    while at + block <= target.len() {
        let here = window.unwrap_or_else(|| Window::of(&target[at..at + block]));
        let done = found.last().map_or(0, Copy::end);
        // After a block most often the next one follows.
        let last = found.last().filter(|_| done == at);
        let start = index.find(here.check(), last.map(|copy| copy.start + copy.len));
        let same = |start: &usize| {
            base.is_none_or(|base| base[*start..].starts_with(&target[at..at + block]))
        };
        if let Some(start) = start.filter(same) {
            let copy = Copy {
                at,
                start,
                len: block,
            };
            add(
                &mut found,
                base.map_or(copy, |base| grown(copy, base, target, done)),
            );
            at = found.last().map_or(at + block, Copy::end);
            window = None;
        } else {
            let next = target.get(at + block);
            window = next.map(|next| here.slid(target[at], *next));
            at += 1;
        }
    }
    let done = found.last().map_or(0, Copy::end);
    if base.is_none()
        && let Some((check, start, len)) = index.tail()
        && let Some(at) = target.len().checked_sub(len).filter(|at| *at >= done)
        && Window::of(&target[at..]).check() == check
    {
        add(&mut found, Copy { at, start, len });
    }
    found
}

/// The longest match around `copy` that starts at `from` or later in the target.
fn grown(copy: Copy, base: &[u8], target: &[u8], from: usize) -> Copy {
    let same = |(a, b): &(&u8, &u8)| a == b;
    let before = base[..copy.start].iter().rev();
    let before = before.zip(target[from..copy.at].iter().rev());
    let before = before.take_while(same).count();
    let after = base[copy.start + copy.len..].iter();
    let after = after.zip(&target[copy.end()..]).take_while(same).count();
    Copy {
        at: copy.at - before,
        start: copy.start - before,
        len: before + copy.len + after,
    }
}

/// Adds a copy, or makes the last one longer where it goes on in both.
fn add(found: &mut Vec<Copy>, copy: Copy) {
    match found.last_mut() {
        Some(last) if last.end() == copy.at && last.start + last.len == copy.start => {
            last.len += copy.len;
        }
        _ => found.push(copy),
    }
}
