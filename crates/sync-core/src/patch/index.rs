//! Which block of a base has a hash: asked at every offset of a target, so the common answer, none, is quick.

use super::Signature;

/// The blocks of a signature by their hashes.
#[derive(Debug)]
pub(super) struct Index<'s> {
    signature: &'s Signature,
    /// Hash and number of each full block, sorted.
    order: Vec<(u64, usize)>,
    /// One bit for each value that the lowest bits of a hash can have: 0 where no block has it.
    filter: Vec<u64>,
}

impl<'s> Index<'s> {
    pub(super) fn new(signature: &'s Signature) -> Self {
        let full = signature.len / signature.block;
        let mut order: Vec<_> = signature
            .checks
            .iter()
            .copied()
            .take(full)
            .zip(0..)
            .collect();
        order.sort_unstable();
        // Sixteen bits for each block: most hashes that no block has are told at once.
        let mut filter = vec![0u64; (full / 4).next_power_of_two()];
        for (check, _) in &order {
            let (word, bit) = place(*check, filter.len());
            filter[word] |= bit;
        }
        Self {
            signature,
            order,
            filter,
        }
    }

    /// Where a full block with this hash starts in the base: the one at `likely` if it has it, else the first.
    pub(super) fn find(&self, check: u64, likely: Option<usize>) -> Option<usize> {
        let (word, bit) = place(check, self.filter.len());
        if self.filter[word] & bit == 0 {
            return None;
        }
        let block = self.signature.block;
        let likely = likely.filter(|start| start.is_multiple_of(block));
        if let Some(start) = likely
            && start + block <= self.signature.len
            && self.signature.checks.get(start / block) == Some(&check)
        {
            return Some(start);
        }
        let first = self.order.partition_point(|(other, _)| *other < check);
        let (_, number) = self.order.get(first).filter(|(other, _)| *other == check)?;
        Some(number * block)
    }

    /// Hash, start and length of the last block, where it is shorter than the others.
    pub(super) fn tail(&self) -> Option<(u64, usize, usize)> {
        let len = self.signature.len % self.signature.block;
        let check = *self.signature.checks.last().filter(|_| len > 0)?;
        Some((check, self.signature.len - len, len))
    }
}

/// The word and the bit of a hash in a filter of so many words, a power of two.
fn place(check: u64, words: usize) -> (usize, u64) {
    let bit = 1 << (check & 63);
    // Only the lowest bits count.
    let word = usize::try_from((check >> 6) & (words as u64 - 1)).unwrap_or(0);
    (word, bit)
}
