//! A TCP proxy on loopback that counts bytes, and can break the connection where a test wants it broken.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use snafu::ResultExt as _;

use crate::error::{IoSnafu, Result};

/// Forwards connections to one address and counts what passes.
///
/// It goes on until the process ends: its threads cost nothing while nobody connects.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    sent: AtomicU64,
    received: AtomicU64,
    wire: Mutex<Option<Wire>>,
    /// Once set, what clients send is swallowed.
    stalled: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

/// What happens when clients have sent so much.
struct Wire {
    at_bytes: u64,
    action: Box<dyn FnOnce(&Proxy) + Send>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("at_bytes", &self.at_bytes)
            .finish_non_exhaustive()
    }
}

/// Bytes that passed, as TCP payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// From clients to the target.
    pub(crate) sent: u64,
    /// From the target to clients.
    pub(crate) received: u64,
}

impl Passed {
    /// What passed since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            received: self.received - earlier.received,
        }
    }

    /// Both directions together.
    pub(crate) fn total(self) -> u64 {
        self.sent + self.received
    }
}

impl Proxy {
    /// Listens on a free port of loopback.
    pub(crate) fn start(target: SocketAddr) -> Result<Self> {
        let context = IoSnafu {
            action: "listen on loopback",
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(context)?;
        let address = listener.local_addr().context(context)?;
        let proxy = Self {
            address,
            shared: Arc::new(Shared {
                target: Mutex::new(target),
                sent: AtomicU64::new(0),
                received: AtomicU64::new(0),
                wire: Mutex::new(None),
                stalled: AtomicBool::new(false),
                open: Mutex::new(Vec::new()),
            }),
        };
        let accepting = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A target that is away looks like a connection that is closed at once.
                drop(accepting.connect(client));
            }
        });
        Ok(proxy)
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends later connections elsewhere, and lets them pass again.
    pub(crate) fn retarget(&self, target: SocketAddr) {
        *locked(&self.shared.target) = target;
        self.shared.stalled.store(false, Ordering::SeqCst);
    }

    /// What has passed so far.
    pub(crate) fn passed(&self) -> Passed {
        Passed {
            sent: self.shared.sent.load(Ordering::SeqCst),
            received: self.shared.received.load(Ordering::SeqCst),
        }
    }

    /// Calls `action`, once, when clients have sent `bytes` more than now; what they send meanwhile waits.
    pub(crate) fn when_sent(&self, bytes: u64, action: impl FnOnce(&Self) + Send + 'static) {
        *locked(&self.shared.wire) = Some(Wire {
            at_bytes: self.passed().sent + bytes,
            action: Box::new(action),
        });
    }

    /// Lets nothing more through that clients send, until it is given a target again.
    pub(crate) fn stall(&self) {
        self.shared.stalled.store(true, Ordering::SeqCst);
    }

    /// Closes every open connection.
    pub(crate) fn cut(&self) {
        for stream in locked(&self.shared.open).drain(..) {
            // It may be closed already.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn connect(&self, client: TcpStream) -> io::Result<()> {
        let target = *locked(&self.shared.target);
        let server = TcpStream::connect(target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        locked(&self.shared.open).extend([client.try_clone()?, server.try_clone()?]);
        let (from_client, to_client) = (client.try_clone()?, client);
        let (from_server, to_server) = (server.try_clone()?, server);
        let up = self.clone();
        thread::spawn(move || up.pump(from_client, to_server, true));
        let down = self.clone();
        thread::spawn(move || down.pump(from_server, to_client, false));
        Ok(())
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, is_up: bool) {
        let mut buffer = vec![0; 64 * 1024];
        // However a direction ends, the other side learns that no more comes.
        while let Ok(length) = from.read(&mut buffer) {
            if length == 0 {
                break;
            }
            if is_up && self.shared.stalled.load(Ordering::SeqCst) {
                continue;
            }
            let count = if is_up {
                &self.shared.sent
            } else {
                &self.shared.received
            };
            let total = count.fetch_add(length as u64, Ordering::SeqCst) + length as u64;
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
            if is_up {
                self.trip(total);
            }
        }
        drop(to.shutdown(Shutdown::Write));
        drop(from.shutdown(Shutdown::Read));
    }

    fn trip(&self, sent: u64) {
        let wire = {
            let mut wire = locked(&self.shared.wire);
            if wire.as_ref().is_some_and(|wire| sent >= wire.at_bytes) {
                wire.take()
            } else {
                None
            }
        };
        if let Some(wire) = wire {
            (wire.action)(self);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends everything back.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut to = stream.try_clone().unwrap();
                thread::spawn(move || io::copy(&mut stream, &mut to));
            }
        });
        address
    }

    #[test]
    fn bytes_are_counted_in_both_directions() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(b"twelve bytes").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"twelve bytes");
        let passed = proxy.passed();
        assert_eq!((passed.sent, passed.received), (12, 12));
    }

    #[test]
    fn a_wire_cuts_where_it_is_told() {
        let proxy = Proxy::start(echo()).unwrap();
        proxy.when_sent(4, Proxy::cut);
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(b"twelve bytes").unwrap();
        let mut rest = Vec::new();
        // A reset and an end are both an end here.
        drop(stream.read_to_end(&mut rest));
        assert!(rest.len() <= 12);
    }
}
