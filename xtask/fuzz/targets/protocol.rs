//! The messages of the protocol, JSON and bits: what decodes encodes, and says the same when it is decoded again.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_core::codec;
use sync_store::TokenRecord;
use sync_store::protocol::{
    Advanced, Answer, AskGc, AskVerify, BranchRetention, ErrorBody, Fetch, GcReport, Head, Log,
    NewTenant, NewToken, Repaired, TokenInfo, Upkept, VerifyReport, decode_bits, decode_digests,
    decode_prefixes, decode_signatures, encode_bits, encode_digests, encode_signatures,
};

fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let encoded = serde_json::to_vec(&value).expect("what was read can be written");
        let again: T = serde_json::from_slice(&encoded).expect("what was written can be read");
        assert_eq!(value, again);
    }
}

fuzz_target!(|bytes: &[u8]| {
    json::<Head>(bytes);
    json::<Advanced>(bytes);
    json::<Fetch>(bytes);
    json::<Log>(bytes);
    json::<ErrorBody>(bytes);
    json::<NewTenant>(bytes);
    json::<NewToken>(bytes);
    json::<TokenInfo>(bytes);
    json::<AskGc>(bytes);
    json::<AskVerify>(bytes);
    json::<BranchRetention>(bytes);
    json::<Repaired>(bytes);
    json::<Answer<Vec<Upkept<GcReport>>>>(bytes);
    json::<Answer<Vec<Upkept<VerifyReport>>>>(bytes);
    // A record of the catalogue.
    if let Ok(token) = codec::decode::<TokenRecord>(bytes) {
        let encoded = codec::encode(&token).expect("what was read can be written");
        let again = codec::decode::<TokenRecord>(&encoded).expect("what was written can be read");
        assert_eq!(token, again);
    }
    if let Some(digests) = decode_digests(bytes) {
        assert_eq!(encode_digests(&digests), bytes);
    }
    if let Some(prefixes) = decode_prefixes(bytes) {
        assert_eq!(prefixes.concat(), bytes);
    }
    if let Some(signatures) = decode_signatures(bytes, [1 << 10, 1 << 14, 5]) {
        let signatures = signatures.iter().map(Option::as_ref);
        assert_eq!(encode_signatures(signatures), bytes);
    }
    for count in [bytes.len() * 8, (bytes.len() * 8).saturating_sub(3)] {
        if let Some(bits) = decode_bits(bytes, count) {
            assert_eq!(encode_bits(&bits), bytes);
        }
    }
});
