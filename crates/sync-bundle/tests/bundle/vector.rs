//! Compares the test vector of `docs/formats.md` with the code.

use sync_bundle::{AskExport, Beside, Export};
use sync_core::Digest;
use sync_store::Identity;
use sync_store::identity::TenantIdentity;

use super::support::{Made, Parts, tenant};

/// The key of the first vector of RFC 8032, section 7.1.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

fn documented(name: &str) -> String {
    let text = include_str!("../../../../docs/formats.md");
    let start = format!("```vector bundle/{name}\n");
    let (_, vector) = text
        .split_once(&start)
        .unwrap_or_else(|| panic!("no vector {name}"));
    let (vector, _) = vector.split_once("\n```").unwrap();
    vector.to_owned()
}

#[tokio::test]
async fn the_documented_bundle_is_made() {
    let source = tenant("acme").await;
    let identity = TenantIdentity {
        key: Identity::from_secret(SEED).unwrap(),
        successions: vec![],
    };
    source.set_identity(&identity).await.unwrap();
    let files = [("a.txt", b"hello\n".to_vec())];
    Made::default()
        .files(&files)
        .push(&source, "main", &[], 1_700_000_000_000)
        .await;
    let beside = Beside {
        settings: serde_json::json!({}),
        tokens: vec![],
    };
    let export = Export::plan(&source, AskExport::default(), beside)
        .await
        .unwrap();
    let pieces: Vec<_> = futures_util::TryStreamExt::try_collect(export.stream())
        .await
        .unwrap();
    let pieces: Vec<bytes::Bytes> = pieces;
    let tar = pieces.concat();
    let parts = Parts::of(&tar);
    let member = |path: &str| {
        let found = parts.members.iter().find(|(name, _)| name == path);
        found.unwrap().1.clone()
    };
    let text = |path: &str| String::from_utf8(member(path)).unwrap();
    assert_eq!(
        String::from_utf8(parts.manifest.encode()).unwrap(),
        documented("manifest")
    );
    let at = tar
        .windows(12)
        .position(|window| window == b"manifest.sig")
        .unwrap()
        + 512;
    assert_eq!(
        std::str::from_utf8(&tar[at..at + 128]).unwrap(),
        documented("signature")
    );
    assert_eq!(text("branches.json"), documented("branches"));
    assert_eq!(
        text("snapshots/000001.jsonl").trim_end(),
        documented("snapshots")
    );
    assert_eq!(Digest::of(&tar).to_string(), documented("tar"));
}
