//! What the fuzz targets reach and nobody else: decoders of what legacy clients send.
//!
//! It exists only where `cargo fuzz` builds, which sets `cfg(fuzzing)`.

use bytes::Bytes;
use sync_core::TreePath;
use tokio::sync::mpsc;

use super::exchange::{Exchange, subject_token};
use super::form::Form;
use super::route::route;
use super::tarball::{Limits, Pieces};
use super::unpack::unpack;
use crate::Error;

/// Reads a tar.gz that comes in pieces of so many bytes; its files with their sizes, and how many bytes of contents came.
pub fn tarball(body: &[u8], piece: usize) -> Result<(Vec<(TreePath, u64)>, u64), Error> {
    let (sender, pieces) = mpsc::channel(body.len() / piece.max(1) + 1);
    for piece in body.chunks(piece.max(1)) {
        // There is room for all of them.
        let _ = sender.try_send(Bytes::copy_from_slice(piece));
    }
    drop(sender);
    // The same limits with smaller numbers, so that a bomb is found in no time.
    let limits = Limits {
        compressed: 1 << 20,
        inflated: 8 << 20,
        ratio: 200,
        free: 1 << 20,
    };
    let mut contents = 0;
    let files = unpack(Pieces::new(pieces), limits, true, |class, object| {
        if class == sync_store::Class::Contents {
            contents += object.len() as u64;
        }
        Ok(())
    })?;
    let files = files.into_iter().map(|(path, file)| (path, file.size));
    Ok((files.collect(), contents))
}

/// Reads a path as a route, and a text as a query, a form, a token request and an access token.
pub fn request(path: &str, text: &str) {
    for method in [http::Method::GET, http::Method::POST] {
        let _ = route(&method, path);
    }
    if let Some(form) = Form::parse(text) {
        assert!(form.repeats("a") <= form.value("a").is_some());
        let _ = subject_token(&form);
    }
    let exchange = Exchange::default();
    assert!(exchange.subject(text, 0).is_err(), "a token was guessed");
}
