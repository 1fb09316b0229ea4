//! The one form of a tar (POSIX ustar) that a bundle has: whoever reads one compares headers with those that would be written.

/// The bytes of a header, and what every member is padded to.
pub const BLOCK: usize = 512;
/// What a tar ends with: two blocks of zeros.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The longest member that a header can tell of.
const MAX_LEN: u64 = (1 << 33) - 1;

/// The header of a file: mode 0644, owned by nobody, last changed at `seconds` after 1970-01-01T00:00:00Z.
/// Paths of more than 100 bytes, and numbers that need more than eleven octal digits, are cut: no bundle has such.
pub fn header(path: &str, len: u64, seconds: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let name = &path.as_bytes()[..path.len().min(100)];
    put(&mut block, 0, name);
    put(&mut block, 100, b"0000644\0");
    put(&mut block, 108, b"0000000\0");
    put(&mut block, 116, b"0000000\0");
    put(&mut block, 124, octal(len).as_bytes());
    put(&mut block, 136, octal(seconds).as_bytes());
    // The checksum counts its own field as spaces.
    put(&mut block, 148, b"        ");
    put(&mut block, 156, b"0");
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 329, b"0000000\0");
    put(&mut block, 337, b"0000000\0");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The length and the time in a header that [`header`] made; `None` where another one did.
pub fn parse(path: &str, block: &[u8; BLOCK]) -> Option<(u64, u64)> {
    let number = |at: usize| {
        let digits = std::str::from_utf8(&block[at..at + 11]).ok()?;
        u64::from_str_radix(digits, 8).ok()
    };
    let (len, seconds) = (number(124)?, number(136)?);
    (*block == header(path, len, seconds)).then_some((len, seconds))
}

/// How many zeros follow the bytes of a member.
pub fn padding(len: u64) -> usize {
    let over = usize::try_from(len % BLOCK as u64).unwrap_or_default();
    (BLOCK - over) % BLOCK
}

fn octal(number: u64) -> String {
    format!("{:011o}\0", number.min(MAX_LEN))
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_in_its_one_form_alone() {
        let block = header("packs/000001.pack", 1234, 1_700_000_000);
        assert_eq!(
            parse("packs/000001.pack", &block),
            Some((1234, 1_700_000_000))
        );
        assert_eq!(parse("packs/000002.pack", &block), None);
        for at in [0, 99, 104, 130, 150, 156, 200, 260, 300, 340, 400, 511] {
            let mut other = block;
            other[at] ^= 1;
            assert_eq!(parse("packs/000001.pack", &other), None, "byte {at}");
        }
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
