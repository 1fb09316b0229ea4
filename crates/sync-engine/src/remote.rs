//! The tenant, as the protocol shows it (ADR 0004).

mod answer;
mod bundles;
mod deploy;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use snafu::{OptionExt, ensure};
use sync_core::patch::Signature;
use sync_core::{Chunk, Digest, Name, SnapshotId};
use sync_store::identity::Introduction;
use sync_store::pack::PackWriter;
use sync_store::protocol::{
    self, Advanced, Answer, BINARY_MEDIA_TYPE, Branch, Branches, Details, EXPIRED_HEADER, Fetch,
    Head, Incomplete, Log, Logged, PACK_MEDIA_TYPE, Part, Repaired, SNAPSHOT_HEADER, SetAsideRow,
    Stale, VerifyReport,
};
use sync_transport::{Body, Call, CallBody, Client};

use crate::Error;
use crate::error::{AnswerSnafu, NoSnapshotSnafu, StaleSnafu};
use crate::receive::Blocks;
use crate::report::Traffic;
use crate::trust::Trust;
use answer::{
    check_logged, expect_ok, json, json_body, plain, pointer, quoted, refusal, refused, typed,
};

/// One branch of a tenant, over any connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Remote {
    client: Client,
    tenant: Name,
    branch: Name,
    /// Who watches that it is the tenant that it was.
    trust: Option<Arc<Trust>>,
}

/// What came of a push.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// The head is where it should be.
    Done {
        /// The snapshot; another than was pushed where the tenant's database could not store all rows.
        head: SnapshotId,
        /// The rows that it could not store.
        set_aside: Vec<SetAsideRow>,
    },
    /// Somebody else moved it.
    Stale {
        /// Where it is.
        head: Option<SnapshotId>,
    },
    /// The tenant lacks these; what it received is kept.
    Incomplete {
        /// The first of them.
        missing: Vec<Digest>,
    },
}

impl Remote {
    /// A branch of a tenant behind `client`.
    pub fn new(client: Client, tenant: Name, branch: Name) -> Self {
        Self {
            client,
            tenant,
            branch,
            trust: None,
        }
    }

    /// The same, watched by `trust`: answers of somebody else are refused, and the tenant is followed where it moves.
    #[must_use]
    pub fn watched(self, trust: Arc<Trust>) -> Self {
        Self {
            trust: Some(trust),
            ..self
        }
    }

    /// The way to the server; to the one that the tenant was followed to, where it was.
    pub fn client(&self) -> &Client {
        let elsewhere = self.trust.as_ref().and_then(|trust| trust.elsewhere());
        elsewhere.unwrap_or(&self.client)
    }

    /// Who watches that it is the tenant that it was.
    pub fn trust(&self) -> Option<&Arc<Trust>> {
        self.trust.as_ref()
    }

    /// The tenant's name.
    pub const fn tenant(&self) -> &Name {
        &self.tenant
    }

    /// The branch.
    pub fn branch(&self) -> &Name {
        &self.branch
    }

    /// Another branch of the same tenant.
    #[must_use]
    pub fn on(&self, branch: &Name) -> Self {
        Self {
            branch: branch.clone(),
            ..self.clone()
        }
    }

    /// What went over the wire so far.
    pub fn traffic(&self) -> Traffic {
        let of = |client: &Client| {
            let traffic = client.traffic();
            Traffic {
                bytes_sent: traffic.bytes_sent,
                bytes_received: traffic.bytes_received,
                requests: traffic.requests,
            }
        };
        let elsewhere = self.trust.as_ref().and_then(|trust| trust.elsewhere());
        let (here, there) = (of(&self.client), elsewhere.map(of).unwrap_or_default());
        Traffic {
            bytes_sent: here.bytes_sent + there.bytes_sent,
            bytes_received: here.bytes_received + there.bytes_received,
            requests: here.requests + there.requests,
        }
    }

    /// Where the branch points to; `None` where it still is at `known`.
    pub async fn head(&self, known: Option<SnapshotId>) -> Result<Option<Head>, Error> {
        self.head_of(known, Part::Files, false).await
    }

    /// Likewise, by who wants to know about `part`: a tenant that has a database looks at it before it answers about rows.
    /// With `others` the answer has the other branches, too, where there are any.
    pub(crate) async fn head_of(
        &self,
        known: Option<SnapshotId>,
        part: Part,
        others: bool,
    ) -> Result<Option<Head>, Error> {
        let mut headers = HeaderMap::new();
        if let Some(id) = known {
            headers.insert(IF_NONE_MATCH, quoted(id));
        }
        let mut path = protocol::routes::head(self.tenant.as_str(), self.branch.as_str());
        match (part.has_rows(), others) {
            (true, true) => path.push_str("?part=rows&branches=true"),
            (true, false) => path.push_str("?part=rows"),
            (false, true) => path.push_str("?branches=true"),
            (false, false) => {}
        }
        let response = self
            .call(Method::GET, path, headers, CallBody::Empty)
            .await?;
        if response.status() == StatusCode::NOT_MODIFIED && known.is_some() {
            return Ok(None);
        }
        let head: Head = json(expect_ok(response).await?).await?;
        if let (Some(id), Some(snapshot)) = (head.head, &head.snapshot) {
            let named = snapshot.encode().is_ok_and(|(digest, _)| digest == id);
            ensure!(
                named,
                AnswerSnafu {
                    reason: "the head's snapshot is not what its id promises"
                }
            );
        }
        ensure!(
            head.head.is_some() == head.snapshot.is_some(),
            AnswerSnafu {
                reason: "a head without its snapshot"
            }
        );
        Ok(Some(head))
    }

    /// Waits until the branch is no longer at `known`, at most about `wait`; says whether it moved. For who wants to know about
    /// rows, the tenant looks at those of its database whenever it says that something changed.
    ///
    /// # Errors
    ///
    /// Where the tenant does not answer, or its database does not.
    pub async fn moved(
        &self,
        known: Option<SnapshotId>,
        wait: Duration,
        part: Part,
    ) -> Result<bool, Error> {
        let mut headers = HeaderMap::new();
        if let Some(id) = known {
            headers.insert(IF_NONE_MATCH, quoted(id));
        }
        let path = protocol::routes::head(self.tenant.as_str(), self.branch.as_str());
        let part = if part.has_rows() { "part=rows&" } else { "" };
        let path = format!("{path}?{part}wait={}", wait.as_secs());
        let response = self
            .call(Method::GET, path, headers, CallBody::Empty)
            .await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(false);
        }
        let head: Head = json(expect_ok(response).await?).await?;
        Ok(head.head != known)
    }

    /// Which of `digests` the tenant (probably) lacks.
    pub(crate) async fn missing(&self, digests: &[Digest]) -> Result<Vec<bool>, Error> {
        let mut missing = Vec::with_capacity(digests.len());
        for page in digests.chunks(protocol::MAX_DIGESTS) {
            let body = protocol::encode_prefixes(page);
            let path = protocol::routes::missing(self.tenant.as_str());
            let response = self
                .post(path, BINARY_MEDIA_TYPE, CallBody::Bytes(body.into()))
                .await?;
            let body = expect_ok(response)
                .await?
                .read_to_end(page.len().div_ceil(8))
                .await?;
            let bits = protocol::decode_bits(&body, page.len());
            missing.extend(bits.context(AnswerSnafu {
                reason: "not one bit for each digest",
            })?);
        }
        Ok(missing)
    }

    /// The signatures of those `chunks` that the tenant has.
    pub(crate) async fn signatures(
        &self,
        chunks: &[Chunk],
    ) -> Result<HashMap<Digest, Signature>, Error> {
        let body = protocol::encode_digests(chunks.iter().map(|chunk| &chunk.digest));
        let path = protocol::routes::signatures(self.tenant.as_str());
        let response = self
            .post(path, BINARY_MEDIA_TYPE, CallBody::Bytes(body.into()))
            .await?;
        let body = expect_ok(response)
            .await?
            .read_to_end(protocol::MAX_SIGNATURES + chunks.len())
            .await?;
        let lens = chunks
            .iter()
            .map(|chunk| usize::try_from(chunk.len).unwrap_or(usize::MAX));
        let signatures = protocol::decode_signatures(&body, lens);
        let signatures = signatures.context(AnswerSnafu {
            reason: "not one signature for each object",
        })?;
        let named = chunks.iter().map(|chunk| chunk.digest).zip(signatures);
        Ok(named
            .filter_map(|(digest, signature)| Some((digest, signature?)))
            .collect())
    }

    /// Moves the branch from `expected` to `target`, which `body`, a pack, completes.
    pub(crate) async fn push(
        &self,
        expected: Option<SnapshotId>,
        target: SnapshotId,
        body: Body,
    ) -> Result<Pushed, Error> {
        self.push_after(expected, target, &[], body).await
    }

    /// Likewise; `expired` are snapshots that it comes after and that nobody keeps any more.
    pub(crate) async fn push_after(
        &self,
        expected: Option<SnapshotId>,
        target: SnapshotId,
        expired: &[SnapshotId],
        body: Body,
    ) -> Result<Pushed, Error> {
        let mut headers = typed(PACK_MEDIA_TYPE);
        match expected {
            Some(id) => headers.insert(IF_MATCH, quoted(id)),
            None => headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*")),
        };
        headers.insert(
            HeaderName::from_static(SNAPSHOT_HEADER),
            plain(target.to_string()),
        );
        if !expired.is_empty() {
            let ids: Vec<String> = expired.iter().map(ToString::to_string).collect();
            let name = HeaderName::from_static(EXPIRED_HEADER);
            headers.insert(name, plain(ids.join(",")));
        }
        let path = protocol::routes::head(self.tenant.as_str(), self.branch.as_str());
        let response = self
            .call(Method::POST, path, headers, CallBody::Stream(body))
            .await?;
        if response.status().is_success() {
            let done: Advanced = json(response.into_body()).await?;
            ensure!(
                done.head == target || !done.set_aside.is_empty(),
                AnswerSnafu {
                    reason: "the head moved elsewhere"
                }
            );
            return Ok(Pushed::Done {
                head: done.head,
                set_aside: done.set_aside,
            });
        }
        let (error, details) = refusal(response).await;
        match details {
            Some(Details::Stale(Stale { head })) => Ok(Pushed::Stale { head }),
            Some(Details::Incomplete(Incomplete { missing, .. })) if !missing.is_empty() => {
                Ok(Pushed::Incomplete { missing })
            }
            _ => Err(error),
        }
    }

    /// Begins the branch, which must not exist, at a snapshot that the tenant has.
    pub(crate) async fn begin(&self, at: SnapshotId) -> Result<Pushed, Error> {
        let nothing = PackWriter::new().and_then(PackWriter::finish);
        let nothing = nothing.map_err(|error| {
            AnswerSnafu {
                reason: error.to_string(),
            }
            .build()
        })?;
        self.push(None, at, Body::full(nothing.concat())).await
    }

    /// Removes the branch, whose head has to be `expected`.
    pub(crate) async fn remove(&self, expected: SnapshotId) -> Result<(), Error> {
        let headers = HeaderMap::from_iter([(IF_MATCH, quoted(expected))]);
        let path = protocol::routes::head(self.tenant.as_str(), self.branch.as_str());
        let response = self
            .call(Method::DELETE, path, headers, CallBody::Empty)
            .await?;
        if response.status().is_success() {
            return Ok(());
        }
        match refusal(response).await {
            (_, Some(Details::Stale(Stale { head }))) => StaleSnafu { head }.fail(),
            (error, _) => Err(error),
        }
    }

    pub(crate) async fn list_branches(&self) -> Result<Vec<Branch>, Error> {
        let path = protocol::routes::heads(self.tenant.as_str());
        let response = self
            .call(Method::GET, path, HeaderMap::new(), CallBody::Empty)
            .await?;
        let found: Branches = json(expect_ok(response).await?).await?;
        Ok(found.branches)
    }

    /// Streams what `fetch` asks for.
    pub(crate) async fn fetch(&self, fetch: Fetch) -> Result<Blocks, Error> {
        Blocks::new(self.fetch_body(fetch).await?)
    }

    /// Likewise, as the pack that is sent, not looked at.
    pub(crate) async fn fetch_body(&self, fetch: Fetch) -> Result<Body, Error> {
        let path = protocol::routes::fetch(self.tenant.as_str());
        let response = self
            .post(path, "application/json", json_body(&fetch))
            .await?;
        expect_ok(response).await
    }

    /// Streams objects by digest.
    pub(crate) async fn objects(&self, digests: &[Digest]) -> Result<Blocks, Error> {
        let body = protocol::encode_digests(digests);
        let path = protocol::routes::objects(self.tenant.as_str());
        let response = self
            .post(path, BINARY_MEDIA_TYPE, CallBody::Bytes(body.into()))
            .await?;
        Blocks::new(expect_ok(response).await?)
    }

    /// The snapshots from `from` backwards, newest first.
    pub async fn log(&self, from: SnapshotId, limit: usize) -> Result<Vec<Logged>, Error> {
        let path = format!(
            "{}?from={from}&limit={limit}",
            protocol::routes::snapshots(self.tenant.as_str())
        );
        let response = self
            .call(Method::GET, path, HeaderMap::new(), CallBody::Empty)
            .await?;
        let log: Log = json(expect_ok(response).await?).await?;
        log.snapshots.iter().try_for_each(check_logged)?;
        Ok(log.snapshots)
    }

    /// The one snapshot whose id starts with `prefix`.
    pub async fn resolve(&self, prefix: &str) -> Result<Logged, Error> {
        let hex = (4..=64).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_hexdigit());
        ensure!(
            hex,
            NoSnapshotSnafu {
                given: prefix,
                reason: "expected 4 to 64 hexadecimal digits"
            }
        );
        let path = protocol::routes::snapshot(self.tenant.as_str(), prefix);
        let response = self
            .call(Method::GET, path, HeaderMap::new(), CallBody::Empty)
            .await?;
        if matches!(
            response.status(),
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST
        ) {
            let (error, _) = refusal(response).await;
            return match error {
                Error::Refused { code, message, .. }
                    if code == "server/no-snapshot" || code == "server/malformed" =>
                {
                    NoSnapshotSnafu {
                        given: prefix,
                        reason: message,
                    }
                    .fail()
                }
                error => Err(error),
            };
        }
        let found: Logged = json(expect_ok(response).await?).await?;
        check_logged(&found)?;
        let asked = found
            .id
            .to_string()
            .starts_with(&prefix.to_ascii_lowercase());
        ensure!(
            asked,
            AnswerSnafu {
                reason: "another snapshot than was asked for"
            }
        );
        Ok(found)
    }

    /// What the tenant's server calls the time, as its `Date` header has it; `None` where it does not say.
    pub async fn date(&self) -> Result<Option<String>, Error> {
        let path = "/healthz".to_owned();
        let response = self
            .call(Method::GET, path, HeaderMap::new(), CallBody::Empty)
            .await?;
        let date = response.headers().get(http::header::DATE);
        Ok(date.and_then(|value| Some(value.to_str().ok()?.to_owned())))
    }

    /// Calls a route that answers JSON, such as those of the operator.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let body = body.map_or(CallBody::Empty, json_body);
        let response = self
            .call(method, path, typed("application/json"), body)
            .await?;
        json(expect_ok(response).await?).await
    }

    /// Calls a route whose answer takes long: white space shows that the work goes on, then JSON comes.
    pub async fn slow_json<T: DeserializeOwned>(
        &self,
        path: String,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        match self.json(Method::POST, path, body).await? {
            Answer::Done(done) => Ok(done),
            Answer::Error(error) => {
                let is_corrupt = error.code == "store/corrupt";
                Err(refused(if is_corrupt { 422 } else { 500 }, error, None))
            }
        }
    }

    /// Reads and checks everything that the tenant holds.
    pub(crate) async fn verify(&self) -> Result<VerifyReport, Error> {
        let path = protocol::routes::verify(self.tenant.as_str());
        self.slow_json(path, None::<&()>).await
    }

    /// Sends good copies of what is damaged there: `pack` is a whole pack.
    pub(crate) async fn repair(&self, pack: Vec<u8>) -> Result<Repaired, Error> {
        let path = protocol::routes::repair(self.tenant.as_str());
        let body = CallBody::Bytes(pack.into());
        let response = self
            .call(Method::POST, path, typed(PACK_MEDIA_TYPE), body)
            .await?;
        json(expect_ok(response).await?).await
    }

    async fn post(
        &self,
        path: String,
        media_type: &'static str,
        body: CallBody,
    ) -> Result<Response<Body>, Error> {
        self.call(Method::POST, path, typed(media_type), body).await
    }

    async fn call(
        &self,
        method: Method,
        path: String,
        headers: HeaderMap,
        body: CallBody,
    ) -> Result<Response<Body>, Error> {
        // Of our posts only the operator's make something new each time; a stream is never repeated in any case.
        let idempotent = method != Method::POST || !path.starts_with(protocol::routes::ADMIN);
        let again = match &body {
            CallBody::Empty => Some(CallBody::Empty),
            CallBody::Bytes(bytes) => Some(CallBody::Bytes(bytes.clone())),
            CallBody::Stream(_) => None,
        };
        let call = |body| Call {
            method: method.clone(),
            path_and_query: path.clone(),
            headers: headers.clone(),
            body,
            idempotent,
        };
        let mut response = self.client().send(call(body)).await?;
        let Some(trust) = &self.trust else {
            return Ok(response);
        };
        if response.status() == StatusCode::GONE {
            let (refused, moved) = pointer(response).await;
            response = refused;
            // Rare, so no other request is to carry it.
            if let (Some(moved), Some(body)) = (moved, again)
                && Box::pin(trust.follow(&moved)).await?
            {
                response = self.client().send(call(body)).await?;
            }
        }
        if path.starts_with(&protocol::routes::heads(self.tenant.as_str())) {
            let (status, headers) = (response.status(), response.headers());
            Box::pin(trust.check(self, status, headers)).await?;
        }
        Ok(response)
    }

    /// Who whoever is behind `client` says that he is.
    pub(crate) async fn introduction(client: &Client, path: String) -> Result<Introduction, Error> {
        let response = client.send(Call::get(path)).await?;
        // A server that was made before tenants had keys.
        if response.status() == StatusCode::NOT_FOUND {
            let (error, _) = refusal(response).await;
            return match error {
                Error::Refused { code, .. } if code == "server/no-route" => {
                    Ok(Introduction::default())
                }
                error => Err(error),
            };
        }
        json(expect_ok(response).await?).await
    }
}
