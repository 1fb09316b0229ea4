//! What a server does with a request.

use std::net::SocketAddr;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::body::Body;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Somebody on the network.
    Tcp(SocketAddr),
    /// Somebody on this machine who may open the socket.
    Unix,
    /// Somebody in this process.
    Memory,
}

/// Answers requests.
///
/// Implemented for every `Fn(Request<Body>, Peer) -> impl Future<Output = Response<Body>>`.
///
/// Each request is handled in a task of its own: a peer that goes away does not stop it in the middle,
/// but ends the request's body with an error. It is stopped only when the server's drain time is over.
/// A handler that panics is answered for with status 500.
///
/// The request has a valid `x-request-id` header, the peer's or a new one, and the same as a
/// [`RequestId`](crate::RequestId) among its extensions; the answer gets the header, too, unless it has one.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. The answer may begin before the request's body was read, or without reading it.
    fn handle(&self, request: Request<Body>, peer: Peer) -> BoxFuture<'_, Response<Body>>;
}

impl<F, A> Handler for F
where
    F: Fn(Request<Body>, Peer) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    fn handle(&self, request: Request<Body>, peer: Peer) -> BoxFuture<'_, Response<Body>> {
        self(request, peer).boxed()
    }
}
