//! A tenant as one archive, and back (ADR 0018).

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_store::protocol::{BUNDLE_MEDIA_TYPE, routes};
use sync_transport::{Body, CallBody};

use super::{Remote, expect_ok, json, json_body};
use crate::Error;

impl Remote {
    /// All of the tenant as a bundle; `ask` says how much of it.
    pub async fn export(&self, ask: &impl Serialize) -> Result<Body, Error> {
        let path = routes::export(self.tenant.as_str());
        let response = self.post(path, "application/json", json_body(ask)).await?;
        expect_ok(response).await
    }

    /// What a bundle that begins so would change; `parameters` say whom to trust.
    pub async fn plan_import<T: DeserializeOwned>(
        &self,
        parameters: &str,
        opening: Bytes,
    ) -> Result<T, Error> {
        let path = routes::import_plan(self.tenant.as_str());
        let path = format!("{path}?{parameters}");
        let body = CallBody::Bytes(opening);
        let response = self.post(path, BUNDLE_MEDIA_TYPE, body).await?;
        json(expect_ok(response).await?).await
    }

    /// Makes the tenant what a bundle says.
    pub async fn import<T: DeserializeOwned>(
        &self,
        parameters: &str,
        bundle: Body,
    ) -> Result<T, Error> {
        let path = routes::import(self.tenant.as_str());
        let path = format!("{path}?{parameters}");
        let body = CallBody::Stream(bundle);
        let response = self.post(path, BUNDLE_MEDIA_TYPE, body).await?;
        json(expect_ok(response).await?).await
    }
}
