//! Bodies that are neither JSON nor packs: digests, their prefixes, bits and signatures, one after the other.

use sync_core::Digest;
use sync_core::patch::Signature;
use sync_core::wire::Reader;

/// The body of a `missing` request: the first eight bytes of each digest.
pub fn encode_prefixes<'d>(digests: impl IntoIterator<Item = &'d Digest>) -> Vec<u8> {
    let prefixes = digests.into_iter().map(prefix);
    prefixes.flatten().collect()
}

/// The first eight bytes of a digest.
pub fn prefix(digest: &Digest) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&digest.as_bytes()[..8]);
    prefix
}

/// The prefixes in the body of a `missing` request; `None` where a piece is left over.
pub fn decode_prefixes(body: &[u8]) -> Option<Vec<[u8; 8]>> {
    let (prefixes, rest) = body.as_chunks();
    rest.is_empty().then(|| prefixes.to_vec())
}

/// The body of an `objects` request.
pub fn encode_digests<'d>(digests: impl IntoIterator<Item = &'d Digest>) -> Vec<u8> {
    let digests = digests.into_iter().map(|digest| *digest.as_bytes());
    digests.flatten().collect()
}

/// The digests in the body of an `objects` request; `None` where a piece is left over.
pub fn decode_digests(body: &[u8]) -> Option<Vec<Digest>> {
    let (digests, rest) = body.as_chunks();
    let digests = digests.iter().copied().map(Digest::from_bytes);
    rest.is_empty().then(|| digests.collect())
}

/// The body of the answer to `missing`: one bit for each prefix, the first in the lowest bit of the first byte,
/// 1 where no object starts so; the bits that are left over are 0.
pub fn encode_bits(bits: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| {
        let set = bits.iter().enumerate().filter(|(_, bit)| **bit);
        set.fold(0, |byte, (index, _)| byte | 1 << index)
    };
    bits.chunks(8).map(byte).collect()
}

/// The first `count` bits of such a body; `None` where it has another length, or a bit beyond is set.
pub fn decode_bits(body: &[u8], count: usize) -> Option<Vec<bool>> {
    let bit = |index: usize| Some(body.get(index / 8)? >> (index % 8) & 1 == 1);
    let bits: Vec<_> = (0..count).map(bit).collect::<Option<_>>()?;
    (encode_bits(&bits) == body).then_some(bits)
}

/// The body of the answer to `signatures`: for each object a byte, 1 where its signature follows and 0 where there is none.
pub fn encode_signatures<'s>(
    signatures: impl IntoIterator<Item = Option<&'s Signature>>,
) -> Vec<u8> {
    let mut body = Vec::new();
    for signature in signatures {
        body.push(u8::from(signature.is_some()));
        body.extend(signature.map(Signature::encode).unwrap_or_default());
    }
    body
}

/// The signatures in such a body, of objects that have so many bytes; `None` where it is not such a body.
pub fn decode_signatures(
    body: &[u8],
    lens: impl IntoIterator<Item = usize>,
) -> Option<Vec<Option<Signature>>> {
    let mut reader = Reader::new(body);
    let mut next = |len| match reader.byte()? {
        0 => Some(None),
        1 => Some(Some(Signature::decode(
            reader.take(Signature::encoded_len(len))?,
            len,
        )?)),
        _ => None,
    };
    let signatures = lens.into_iter().map(&mut next).collect::<Option<_>>()?;
    reader.is_empty().then_some(signatures)
}
