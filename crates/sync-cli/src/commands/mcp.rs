//! `mcp`: this workspace for an agent, by the Model Context Protocol on stdin and stdout.
//!
//! A call is a command: its arguments become a [`Verb`](crate::args::Verb), which runs as from the command line with a
//! terminal that collects what `--output json` prints. Nothing else is written to stdout, and nobody is asked.

mod calls;
mod progress;
mod tools;

use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer, ServerInitializeError, ServiceExt};
use snafu::{IntoError, ResultExt, ensure};
use sync_core::Fault;
use tokio::signal::unix::{SignalKind, signal};

use self::calls::Calls;
use self::progress::Meter;
use self::tools::{Call, Tool};
use super::Place;
use crate::error::{McpSnafu, ReadOnlySnafu, SetupSnafu, UnfinishedSnafu};
use crate::terminal::failed;
use crate::{Error, Outcome};

/// What a client tells its model about this server.
const INSTRUCTIONS: &str = "Keeps the files and database rows of a workspace in step with its tenant. \
    `status` says where both stand, `diff` what differs, `log` what was synced before, `conflicts` what a person has to choose. \
    `sync` shows what it would do unless `dry_run` is false: look at that before you change anything.";

/// Serves until stdin ends, or until a signal says so; what still runs then is cancelled, and brought to its end.
pub(super) async fn run(place: &Place<'_>, read_only: bool) -> Result<Outcome, Error> {
    let mut terminate = signal(SignalKind::terminate()).context(SetupSnafu)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(SetupSnafu)?;
    let agent = Agent {
        calls: Calls::new(place.dir.clone(), place.env),
        read_only,
    };
    let calls = agent.calls.clone();
    let serve = async {
        let service = match agent.serve(rmcp::transport::stdio()).await {
            Ok(service) => service,
            // A client that goes before it has said anything wanted nothing.
            Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(McpSnafu.into_error(error)),
        };
        service.waiting().await.context(UnfinishedSnafu).map(drop)
    };
    let served = tokio::select! {
        served = serve => served,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    calls.end().await;
    served.map(|()| Outcome::Done)
}

/// The server of one client.
#[derive(Debug)]
struct Agent {
    calls: Calls,
    read_only: bool,
}

impl ServerHandler for Agent {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("sync-cli", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = Tool::ALL.map(|tool| tool.described(self.read_only));
        Ok(ListToolsResult::with_all_items(tools.to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = Tool::named(&request.name) else {
            let text = format!("there is no tool `{}`", request.name);
            return Err(ErrorData::invalid_params(text, None));
        };
        let call = match self.allowed(tool, request.arguments.unwrap_or_default()) {
            Ok(call) => call,
            Err(error) => return Ok(refused(tool, &error)),
        };
        let meter = Meter::new(context.meta.get_progress_token());
        let work = self.calls.perform(call, meter.listener(), &context);
        let done = meter.tell_during(&context, work).await;
        Ok(match done {
            Ok(Some((value, outcome))) if is_error(tool, outcome) => {
                CallToolResult::structured_error(value).into()
            }
            Ok(Some((value, _))) => CallToolResult::structured(value).into(),
            // Nobody waits for an answer any more.
            Ok(None) => return Err(ErrorData::internal_error("the call was cancelled", None)),
            Err(error) => refused(tool, &error),
        })
    }
}

impl Agent {
    /// What is to be run, where the arguments say so and this server does it.
    fn allowed(&self, tool: Tool, arguments: rmcp::model::JsonObject) -> Result<Call, Error> {
        let call = tool.call(arguments)?;
        ensure!(!(self.read_only && call.writes), ReadOnlySnafu);
        Ok(call)
    }
}

/// What is told of a call that was not even begun, or broke off.
fn refused(tool: Tool, error: &impl Fault) -> CallToolResponse {
    CallToolResult::structured_error(failed(tool.as_str(), error)).into()
}

/// Differences, and conflicts of a list of them, are what was asked for.
fn is_error(tool: Tool, outcome: Outcome) -> bool {
    match outcome {
        Outcome::Done | Outcome::Different => false,
        Outcome::Undecided => tool != Tool::Conflicts,
        _ => true,
    }
}
