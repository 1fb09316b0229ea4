//! What can go wrong between two ends, who is at fault, and what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use snafu::Snafu;
use sync_core::{Class, Fault};

use crate::request_id::RequestId;

/// Any error, boxed: what a body's producer may fail with.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// What a timed-out request was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// The peer did not take more of the body that was being sent to it.
    Sending,
    /// The request was sent, and no answer began.
    Answer,
    /// The peer stopped in the middle of the body that it was sending.
    Receiving,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sending => "the peer to take more of the body",
            Self::Answer => "the answer to begin",
            Self::Receiving => "more of the body",
        })
    }
}

/// What was going on when a connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The request was being sent.
    Sending,
    /// The request was sent, and no answer had begun.
    Answer,
    /// A body was being received.
    Receiving,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sending => "while the request was being sent",
            Self::Answer => "before the answer began",
            Self::Receiving => "in the middle of a body",
        })
    }
}

/// Why a TLS handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsTrouble {
    /// No certificate authority that we trust signed the peer's certificate.
    Untrusted,
    /// The certificate is for another host.
    WrongName,
    /// The certificate is not valid today.
    Expired,
    /// What one side sent is not what the other received.
    Damaged,
    /// Anything else: no TLS at all, no common version, a refusal by the peer.
    Other,
}

impl fmt::Display for TlsTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untrusted => "its certificate is not signed by an authority that is trusted here",
            Self::WrongName => "its certificate is for another host name",
            Self::Expired => "its certificate is not valid at this time",
            Self::Damaged => "what was said in the handshake was changed on its way",
            Self::Other => "the handshake failed",
        })
    }
}

/// An error of the transport.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// The text names no endpoint.
    #[snafu(display("`{endpoint}` is not an endpoint: {reason}"))]
    InvalidEndpoint {
        /// The text, without any user info in it.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A token would have travelled readable by everyone on the way.
    #[snafu(display("refused to send a token to `{host}` over plain http"))]
    InsecureToken {
        /// The host it was meant for.
        host: String,
    },

    /// The call cannot be put into an HTTP request.
    #[snafu(display("the request cannot be made: {reason}"))]
    InvalidCall {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// An option is outside its bounds.
    #[snafu(display("the option `{option}` is out of bounds: {bounds}"))]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// Its bounds.
        bounds: &'static str,
    },

    /// Certificates or keys cannot be read or used.
    #[snafu(display("cannot use {what}"))]
    Certificates {
        /// Which ones.
        what: String,
        /// Why not.
        source: BoxError,
    },

    /// The host name has no address.
    #[snafu(display("cannot resolve the host name `{host}`"))]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },

    /// Nothing answers there.
    #[snafu(display("cannot connect to `{endpoint}`"))]
    Connect {
        /// Where.
        endpoint: String,
        /// What the system said; `TimedOut` where the connect timeout ended the wait.
        source: io::Error,
    },

    /// The peer is there, and no trusted connection to it could be made.
    #[snafu(display("cannot trust the connection to `{endpoint}`: {trouble}"))]
    Tls {
        /// The peer.
        endpoint: String,
        /// What kind of failure.
        trouble: TlsTrouble,
        /// What the TLS library said.
        source: io::Error,
    },

    /// Nothing moved for as long as is allowed.
    #[snafu(display(
        "waited {} s in vain for {wait} (request {request_id})",
        after.as_secs_f32()
    ))]
    TimedOut {
        /// What was waited for.
        wait: Wait,
        /// For how long.
        after: Duration,
        /// The request's id, as the peer may have logged it.
        request_id: RequestId,
    },

    /// The connection broke.
    #[snafu(display("the connection was lost {stage} (request {request_id})"))]
    Lost {
        /// When.
        stage: Stage,
        /// The request's id, as the peer may have logged it.
        request_id: RequestId,
        /// How it showed.
        source: BoxError,
    },

    /// The peer does not speak HTTP as it should.
    #[snafu(display("the peer broke the rules of HTTP (request {request_id})"))]
    Protocol {
        /// The request's id, as the peer may have logged it.
        request_id: RequestId,
        /// Which rule.
        source: BoxError,
    },

    /// A body is longer than it may be.
    #[snafu(display("the body is longer than {max_bytes} bytes"))]
    TooLarge {
        /// The bound.
        max_bytes: u64,
    },

    /// The producer of a body that was being sent failed.
    #[snafu(display("the body to be sent could not be produced"))]
    Producer {
        /// The producer's own error.
        source: BoxError,
    },

    /// The address cannot be listened on.
    #[snafu(display("cannot listen on `{address}`"))]
    Listen {
        /// The address.
        address: String,
        /// What the system said; `AddrInUse` where somebody else listens there.
        source: io::Error,
    },
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidEndpoint { .. } => "transport/invalid-endpoint",
            Self::InsecureToken { .. } => "transport/insecure-token",
            Self::InvalidCall { .. } => "transport/invalid-call",
            Self::InvalidOption { .. } => "transport/invalid-option",
            Self::Certificates { .. } => "transport/certificates",
            Self::Resolve { .. } => "transport/unresolved",
            Self::Connect { .. } => "transport/unreachable",
            Self::Tls { trouble, .. } => match trouble {
                TlsTrouble::Untrusted => "transport/tls-untrusted",
                TlsTrouble::WrongName => "transport/tls-wrong-name",
                TlsTrouble::Expired => "transport/tls-expired",
                TlsTrouble::Damaged => "transport/tls-damaged",
                TlsTrouble::Other => "transport/tls-failed",
            },
            Self::TimedOut { .. } => "transport/timed-out",
            Self::Lost { .. } => "transport/lost",
            Self::Protocol { .. } => "transport/protocol",
            Self::TooLarge { .. } => "transport/too-large",
            Self::Producer { .. } => "transport/producer",
            Self::Listen { .. } => "transport/listen",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::InvalidEndpoint { .. }
            | Self::InsecureToken { .. }
            | Self::InvalidCall { .. }
            | Self::InvalidOption { .. }
            | Self::Certificates { .. } => Class::Usage,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::Lost { .. } => Class::Unavailable,
            Self::Tls { trouble, .. } => match trouble {
                TlsTrouble::Untrusted
                | TlsTrouble::WrongName
                | TlsTrouble::Expired
                | TlsTrouble::Damaged => Class::Integrity,
                TlsTrouble::Other => Class::Failed,
            },
            Self::Protocol { .. }
            | Self::TooLarge { .. }
            | Self::Producer { .. }
            | Self::Listen { .. } => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::InvalidEndpoint { .. } => "write it as `https://host` or `https://host:port`",
            Self::InsecureToken { .. } => "use https, or a loopback address for a trial",
            Self::Resolve { .. } => "check the host name in `remote.url` and the network",
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                    "check that the server is running and the port is right"
                }
                _ => "check the network, then try again",
            },
            Self::Tls { trouble, .. } => match trouble {
                TlsTrouble::Untrusted => {
                    "set `remote.ca_file` to the certificate of the authority that signed it"
                }
                TlsTrouble::WrongName => {
                    "use the host name that the certificate was made for in `remote.url`"
                }
                TlsTrouble::Expired => {
                    "renew the server's certificate, or set this machine's clock"
                }
                TlsTrouble::Damaged => {
                    "try again; where it happens again, find out what is between here and the server"
                }
                TlsTrouble::Other => "check that `remote.url` has the port of an https server",
            },
            Self::TimedOut { .. } | Self::Lost { .. } => "check the network, then try again",
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "stop the other server, or listen on another address"
            }
            Self::InvalidCall { .. }
            | Self::InvalidOption { .. }
            | Self::Certificates { .. }
            | Self::Protocol { .. }
            | Self::TooLarge { .. }
            | Self::Producer { .. }
            | Self::Listen { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Makes sense of what hyper says about a request or a body.
pub(crate) fn from_hyper(error: hyper::Error, stage: Stage, request_id: RequestId) -> Error {
    if error.is_parse() || error.is_user() {
        Error::Protocol {
            request_id,
            source: error.into(),
        }
    } else {
        Error::Lost {
            stage,
            request_id,
            source: error.into(),
        }
    }
}
