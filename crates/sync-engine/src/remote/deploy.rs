//! The tenant's program: what runs, what ran, and having another release run.

use http::{HeaderMap, Method, StatusCode};
use snafu::OptionExt;
use sync_store::protocol::deploy::{
    AskDeploy, DeployLine, DeployStatus, DeployStep, Deployed, Deploys, RegistryToken,
};
use sync_store::protocol::routes;

use super::Remote;
use super::answer::{expect_ok, json_body, refused, typed};
use crate::Error;
use crate::error::AnswerSnafu;

/// The longest line of an answer to a deploy.
const MAX_LINE: usize = 1 << 20;

impl Remote {
    /// Who may push images of the program, and where; `None` where the tenant says nothing of that.
    pub async fn registry_token(&self) -> Result<Option<RegistryToken>, Error> {
        let path = routes::registry_token(self.tenant.as_str());
        match self.json(Method::GET, path, None::<&()>).await {
            Ok(token) => Ok(Some(token)),
            Err(Error::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How the program is.
    pub async fn deploy_status(&self) -> Result<DeployStatus, Error> {
        let path = routes::deploy(self.tenant.as_str());
        self.json(Method::GET, path, None::<&()>).await
    }

    /// What was deployed, newest first.
    pub async fn deploys(&self) -> Result<Deploys, Error> {
        let path = routes::deploys(self.tenant.as_str());
        self.json(Method::GET, path, None::<&()>).await
    }

    /// Has a release run, and waits until it serves; `tell` is told of the server's steps as they come.
    ///
    /// Where the connection is lost, the server goes on: asked again, it says who deploys, or that the release serves already.
    ///
    /// # Errors
    ///
    /// Why it does not serve; then what served before goes on, and the head is where it was.
    pub async fn deploy(
        &self,
        ask: &AskDeploy,
        tell: &(dyn Fn(DeployStep) + Sync),
    ) -> Result<Deployed, Error> {
        let path = routes::deploy(self.tenant.as_str());
        let body = json_body(ask);
        let headers: HeaderMap = typed("application/json");
        let answer = self.call(Method::POST, path, headers, body).await?;
        let mut body = expect_ok(answer).await?;
        let mut waiting = Vec::new();
        while let Some(bytes) = body.next().await {
            for byte in bytes? {
                if byte != b'\n' {
                    waiting.push(byte);
                    continue;
                }
                let line = std::mem::take(&mut waiting);
                if let Some(deployed) = take(&line, tell)? {
                    return Ok(deployed);
                }
            }
            if waiting.len() > MAX_LINE {
                break;
            }
        }
        let reason = "the answer ended before it said what came of the deploy";
        take(&waiting, tell)?.context(AnswerSnafu { reason })
    }
}

/// Reads a line; white space only shows that the work goes on.
fn take(line: &[u8], tell: &(dyn Fn(DeployStep) + Sync)) -> Result<Option<Deployed>, Error> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let line = serde_json::from_slice(line).map_err(|error| {
        let reason = error.to_string();
        AnswerSnafu { reason }.build()
    })?;
    match line {
        DeployLine::Step(step) => {
            tell(step);
            Ok(None)
        }
        DeployLine::Done(deployed) => Ok(Some(deployed)),
        DeployLine::Error(error) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
            Err(refused(status, error, None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use sync_store::protocol::deploy::Step;

    #[test]
    fn lines_are_steps_white_space_and_an_end() {
        let told = Mutex::new(Vec::new());
        let tell = |step: DeployStep| told.lock().unwrap().push(step.step);
        assert!(take(b"   ", &tell).unwrap().is_none());
        assert!(
            take(br#"{"step":{"step":"health"}}"#, &tell)
                .unwrap()
                .is_none()
        );
        assert_eq!(*told.lock().unwrap(), [Step::Health]);
        let error =
            br#"{"error":{"code":"deploy/unhealthy","message":"it\u001b ended","request_id":"r"}}"#;
        let error = take(error, &tell).unwrap_err();
        assert!(error.to_string().contains("it  ended"), "{error}");
        assert!(take(b"{", &tell).is_err());
    }
}
