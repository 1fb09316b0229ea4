//! The messages are the JSON that is documented.

use proptest::prelude::*;
use sync_core::patch::Signature;
use sync_core::{Digest, Roots, Snapshot, SnapshotId};

use super::*;

#[track_caller]
fn check<T>(message: &T, json: &str)
where
    T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug,
{
    assert_eq!(serde_json::to_string(message).unwrap(), json);
    assert_eq!(&serde_json::from_str::<T>(json).unwrap(), message);
}

#[test]
fn messages_are_the_json_that_is_documented() {
    let id = SnapshotId(Digest::of(b"x"));
    let snapshot = Snapshot {
        author: "ada".into(),
        message: String::new(),
        parents: vec![id],
        roots: Roots::default(),
        time: 7,
    };
    let text =
        format!(r#"{{"author":"ada","message":"","parents":["{id}"],"roots":{{}},"time":7}}"#);
    check(
        &Head {
            head: None,
            snapshot: None,
            vacant: true,
            branches: Vec::new(),
        },
        r#"{"head":null,"snapshot":null,"vacant":true}"#,
    );
    check(
        &Head {
            head: Some(id),
            snapshot: Some(snapshot.clone()),
            vacant: false,
            branches: Vec::new(),
        },
        &format!(r#"{{"head":"{id}","snapshot":{text},"vacant":false}}"#),
    );
    check(
        &Log {
            snapshots: vec![Logged {
                id,
                snapshot,
                release: None,
            }],
        },
        &format!(r#"{{"snapshots":[{{"id":"{id}","snapshot":{text}}}]}}"#),
    );
    check(
        &Fetch {
            want: id,
            have: None,
            contents: true,
            patches: true,
            part: Part::Files,
        },
        &format!(r#"{{"want":"{id}","contents":true,"patches":true}}"#),
    );
    check(
        &Fetch {
            want: id,
            have: Some(id),
            contents: false,
            patches: false,
            part: Part::All,
        },
        &format!(
            r#"{{"want":"{id}","have":"{id}","contents":false,"patches":false,"part":"all"}}"#
        ),
    );
    check(
        &Advanced {
            head: id,
            objects: 3,
            bytes: 900,
            set_aside: Vec::new(),
        },
        &format!(r#"{{"head":"{id}","objects":3,"bytes":900}}"#),
    );
    let error = |details| ErrorBody {
        error: ErrorDetail {
            code: "store/incomplete".into(),
            message: "m".into(),
            hint: None,
            request_id: "r".into(),
            details: Some(details),
        },
    };
    check(
        &error(Details::Incomplete(Incomplete {
            missing: vec![id.0],
            total: 2,
        })),
        &format!(
            r#"{{"error":{{"code":"store/incomplete","message":"m","request_id":"r","details":{{"incomplete":{{"missing":["{id}"],"total":2}}}}}}}}"#
        ),
    );
    check(
        &error(Details::Stale(Stale { head: None })),
        r#"{"error":{"code":"store/incomplete","message":"m","request_id":"r","details":{"stale":{"head":null}}}}"#,
    );
    check(
        &NewToken {
            tenant: "t".into(),
            scope: Scope::Read,
            expires_in_seconds: Some(90),
            label: None,
        },
        r#"{"tenant":"t","scope":"read","expires_in_seconds":90}"#,
    );
}

#[test]
fn what_a_newer_peer_adds_is_ignored() {
    let head: Head = serde_json::from_str(r#"{"head":null,"vacant":true,"new":1}"#).unwrap();
    assert!(head.vacant);
}

#[test]
fn a_secret_is_not_in_debug_output() {
    let issued = IssuedToken {
        id: "a".into(),
        token: "hidden".into(),
    };
    assert!(!format!("{issued:?}").contains("hidden"));
}

#[test]
fn routes_are_below_the_tenant() {
    assert_eq!(routes::head("a", "f/x"), "/v1/tenants/a/heads/f/x");
    assert_eq!(routes::snapshot("a", "7f3"), "/v1/tenants/a/snapshots/7f3");
}

proptest! {
    #[test]
    fn bits_round_trip_and_have_one_form(bits: Vec<bool>, other: u8) {
        let body = encode_bits(&bits);
        prop_assert_eq!(decode_bits(&body, bits.len()), Some(bits.clone()));
        let longer = [&body[..], &[other]].concat();
        prop_assert_eq!(decode_bits(&longer, bits.len()), None);
        if let Some((_, shorter)) = body.split_last() {
            prop_assert_eq!(decode_bits(shorter, bits.len()), None);
        }
        if bits.len() % 8 != 0 {
            let mut wrong = body;
            *wrong.last_mut().unwrap() |= 0x80;
            prop_assert!(bits.len() % 8 == 0 || decode_bits(&wrong, bits.len()).is_none());
        }
    }

    #[test]
    fn signatures_round_trip_and_have_one_form(
        objects in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 1..3000)), 0..9),
        cut: prop::sample::Index,
        more: u8,
    ) {
        let lens: Vec<_> = objects.iter().map(|object| object.as_ref().map_or(77, Vec::len)).collect();
        let signatures: Vec<_> = objects.iter().map(|o| o.as_ref().map(|o| Signature::of(o))).collect();
        let body = encode_signatures(signatures.iter().map(Option::as_ref));
        prop_assert_eq!(decode_signatures(&body, lens.clone()), Some(signatures));
        prop_assert_eq!(decode_signatures(&[&body[..], &[more]].concat(), lens.clone()), None);
        if !body.is_empty() {
            prop_assert_eq!(decode_signatures(&body[..cut.index(body.len())], lens), None);
        }
    }

    #[test]
    fn digests_round_trip(digests: Vec<[u8; 32]>, cut in 1..8usize) {
        let digests: Vec<_> = digests.into_iter().map(Digest::from_bytes).collect();
        let body = encode_digests(&digests);
        prop_assert_eq!(decode_digests(&body), Some(digests.clone()));
        let body = encode_prefixes(&digests);
        let prefixes: Vec<_> = digests.iter().map(prefix).collect();
        prop_assert_eq!(decode_prefixes(&body), Some(prefixes));
        prop_assert_eq!(decode_prefixes(&[&body[..], &[0; 8][..cut]].concat()), None);
    }
}
