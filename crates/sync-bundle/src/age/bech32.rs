//! Keys as text (BIP 173), without its limit of 90 letters.

const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// Letters of a checksum.
const SUM_LEN: usize = 6;

fn sum(prefix: &str, values: &[u8]) -> u32 {
    const GENERATOR: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    let all = high.chain([0]).chain(low).chain(values.iter().copied());
    all.fold(1, |sum, value| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        let bits = GENERATOR.iter().enumerate();
        bits.filter(|(bit, _)| top >> bit & 1 == 1)
            .fold(next, |next, (_, generator)| next ^ generator)
    })
}

/// Bits from groups of `from` into groups of `to`, those that are left over in one more group; `None` where these are not zeros
/// of less than a group, and none may be left.
fn regroup(values: &[u8], from: u32, to: u32, pads: bool) -> Option<Vec<u8>> {
    let (mut out, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for value in values {
        held = held << from | u32::from(*value);
        bits += from;
        while bits >= to {
            bits -= to;
            out.push(u8::try_from(held >> bits & ((1 << to) - 1)).ok()?);
        }
        held &= (1 << bits) - 1;
    }
    if pads {
        if bits > 0 {
            out.push(u8::try_from(held << (to - bits)).ok()?);
        }
    } else if bits >= from || held != 0 {
        return None;
    }
    Some(out)
}

/// The text of a key behind a prefix.
pub(super) fn encode(prefix: &str, key: &[u8; 32]) -> String {
    // Eight bits fit into two groups of five.
    let mut values = regroup(key, 8, 5, true).unwrap_or_default();
    let open = [&values[..], &[0; SUM_LEN]].concat();
    let sum = sum(prefix, &open) ^ 1;
    values.extend((0..SUM_LEN).map(|at| (sum >> (5 * (SUM_LEN - 1 - at)) & 31).to_le_bytes()[0]));
    let letters = values
        .iter()
        .map(|value| char::from(LETTERS[usize::from(*value)]));
    format!("{prefix}1{}", letters.collect::<String>())
}

/// The key of a text in lower case; `None` where it is none behind this prefix.
pub(super) fn decode(prefix: &str, text: &str) -> Option<[u8; 32]> {
    let letters = text.strip_prefix(prefix)?.strip_prefix('1')?;
    let value = |letter| {
        let at = LETTERS.iter().position(|known| *known == letter)?;
        u8::try_from(at).ok()
    };
    let values: Vec<u8> = letters.bytes().map(value).collect::<Option<_>>()?;
    if values.len() < SUM_LEN || sum(prefix, &values) != 1 {
        return None;
    }
    let key = regroup(&values[..values.len() - SUM_LEN], 5, 8, false)?;
    key.try_into().ok()
}
