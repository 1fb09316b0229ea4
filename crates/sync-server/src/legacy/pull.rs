//! The tree as a tarball, or as a manifest of it.

use std::io::{self, Write};
use std::sync::Arc;

use flate2::{Compression, GzBuilder};
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use http::{Response, StatusCode};
use snafu::ResultExt;
use sync_store::Repository;
use sync_transport::Body;
use tar::{EntryType, Header};

use super::contents::{Ahead, Piece, Selection, TreeFile};
use super::form::Form;
use super::outgoing::{JSON, Outgoing, stream};
use super::tarball::{BLOCK, padding};
use super::{BRANCH, DIRECTORIES, manifest as checksums, turn};
use crate::error::{MalformedSnafu, StoreSnafu};
use crate::{Error, Server, answer};

const GZIP: HeaderValue = HeaderValue::from_static("application/gzip");
const ATTACHMENT: HeaderValue = HeaderValue::from_static("attachment; filename=\"files.tar.gz\"");

/// The longest path that fits a header; a longer one comes before it, as a name of its own.
const MAX_SHORT: usize = 100;

/// Serves a pull.
pub(super) async fn serve(
    server: &Server,
    repository: &Repository,
    query: &Form,
) -> Result<Response<Body>, Error> {
    if is_dry_run(query)? {
        return manifest(server, repository, query).await;
    }
    let (selection, time) = select(repository, query).await?;
    let time = time.unwrap_or_default() / 1000;
    let turn = turn(&server.legacy().pulls).await?;
    let body = stream(move |out| {
        let _turn = turn;
        write_tarball(&selection, time, out)
    });
    let mut response = answer::with_type(StatusCode::OK, GZIP, body);
    response
        .headers_mut()
        .insert(CONTENT_DISPOSITION, ATTACHMENT);
    Ok(response)
}

/// Serves the manifest of what a pull would bring.
pub(super) async fn manifest(
    server: &Server,
    repository: &Repository,
    query: &Form,
) -> Result<Response<Body>, Error> {
    let (selection, time) = select(repository, query).await?;
    let time = time.unwrap_or_else(|| server.now());
    let state = Arc::clone(server.legacy());
    let turn = turn(&state.pulls).await?;
    let body = stream(move |out| {
        let _turn = turn;
        checksums::write(&selection, &state.checksums, time, out)
    });
    Ok(answer::with_type(StatusCode::OK, JSON, body))
}

pub(super) fn is_dry_run(query: &Form) -> Result<bool, Error> {
    match query.value("dry_run") {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => MalformedSnafu {
            reason: "`dry_run` is `true` or `false`",
        }
        .fail(),
    }
}

/// What the query asks for of the tree as it is now, and the time of its snapshot.
async fn select(repository: &Repository, query: &Form) -> Result<(Selection, Option<u64>), Error> {
    let head = repository.head(BRANCH).await.context(StoreSnafu)?;
    let (root, time) = match head {
        Some(id) => {
            let snapshot = repository.snapshot(id).await.context(StoreSnafu)?;
            (snapshot.roots.files, Some(snapshot.time))
        }
        None => (None, None),
    };
    let selection = Selection {
        repository: repository.clone(),
        nodes: repository.nodes(),
        root,
        directories: directories(query.value("filter")),
    };
    Ok((selection, time))
}

/// The directories that a filter names; all of them where there is none.
fn directories(filter: Option<&str>) -> Vec<&'static str> {
    let Some(filter) = filter.filter(|filter| !filter.trim().is_empty()) else {
        return DIRECTORIES.to_vec();
    };
    let named =
        |directory: &&&'static str| filter.split(',').any(|name| name.trim() == **directory);
    DIRECTORIES.iter().filter(named).copied().collect()
}

/// Writes the tar.gz of what is selected. Blocking. The same tree gives the same bytes.
///
/// The fast level of gzip: these clients give a whole answer sixty seconds.
fn write_tarball(selection: &Selection, time: u64, out: &mut Outgoing) -> io::Result<()> {
    let mut gzip = GzBuilder::new()
        .operating_system(255)
        .write(out, Compression::fast());
    let each = |piece: Piece<Vec<u8>>| match piece {
        Piece::Mark(bytes) => gzip.write_all(&bytes),
        Piece::Bytes(bytes) => gzip.write_all(&bytes),
    };
    let mut ahead = Ahead::new(selection, each);
    selection.files(|file| {
        ahead.mark(header(&file, time))?;
        ahead.content(&file.content)?;
        let padding = usize::try_from(padding(file.size)).map_err(io::Error::other)?;
        ahead.mark(vec![0; padding])
    })?;
    ahead.mark(vec![0; 2 * BLOCK])?;
    ahead.flush()?;
    drop(ahead);
    gzip.finish().map(drop)
}

/// What comes before the bytes of a file: its header, and before that its path where that is long.
fn header(file: &TreeFile, time: u64) -> Vec<u8> {
    let path = file.path.as_bytes();
    let mut bytes = Vec::new();
    if path.len() > MAX_SHORT {
        let mut long = Header::new_gnu();
        long.set_entry_type(EntryType::GNULongName);
        set_name(&mut long, b"././@LongLink");
        long.set_size(path.len() as u64 + 1);
        long.set_cksum();
        bytes.extend_from_slice(long.as_bytes());
        bytes.extend_from_slice(path);
        bytes.resize(bytes.len() + 1, 0);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    let mut header = Header::new_gnu();
    set_name(&mut header, &path[..path.len().min(MAX_SHORT)]);
    header.set_entry_type(EntryType::Regular);
    header.set_mode(if file.executable { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(file.size);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

/// Sets the name field as it is: `Header::set_path` would refuse a path that is cut within a character.
fn set_name(header: &mut Header, name: &[u8]) {
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filter: Option<&str>, expected: &[&str]) {
        assert_eq!(directories(filter), expected, "{filter:?}");
    }

    #[test]
    fn a_filter_names_directories() {
        check(None, &DIRECTORIES);
        check(Some(" "), &DIRECTORIES);
        check(Some("skills, agents ,,nothing"), &["agents", "skills"]);
        check(Some("access-control"), &[]);
        assert!(DIRECTORIES.is_sorted());
    }
}
