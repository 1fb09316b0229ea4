//! A TCP proxy on loopback that counts bytes, and can break the connection where a test wants it broken.

mod fault;

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rustix::net::sockopt;
use snafu::ResultExt as _;

pub(crate) use fault::{Direction, Fault, How};

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
    fault: Mutex<Option<Fault>>,
    connections: AtomicU64,
    open: Mutex<Vec<(u64, TcpStream)>>,
}

/// One connection on its way through.
#[derive(Debug)]
struct Connection {
    number: u64,
    /// Once set, both ends are closed with a reset.
    reset: AtomicBool,
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
                fault: Mutex::new(None),
                connections: AtomicU64::new(0),
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

    /// Where connections go.
    pub(crate) fn target(&self) -> SocketAddr {
        *locked(&self.shared.target)
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
        for (_, stream) in locked(&self.shared.open).drain(..) {
            // It may be closed already.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Does something to what passes, once, when a direction has come so many bytes further than now.
    pub(crate) fn break_at(&self, direction: Direction, bytes: u64, how: How) {
        let passed = self.passed();
        let now = match direction {
            Direction::Up => passed.sent,
            Direction::Down => passed.received,
        };
        *locked(&self.shared.fault) = Some(Fault {
            direction,
            at_bytes: now + bytes,
            how,
        });
    }

    /// Lets everything pass again; whether what was asked for did not come to happen.
    pub(crate) fn mend(&self) -> bool {
        locked(&self.shared.fault).take().is_some()
    }

    fn connect(&self, client: TcpStream) -> io::Result<()> {
        let target = *locked(&self.shared.target);
        let server = TcpStream::connect(target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let number = self.shared.connections.fetch_add(1, Ordering::SeqCst);
        let connection = Arc::new(Connection {
            number,
            reset: AtomicBool::new(false),
        });
        locked(&self.shared.open)
            .extend([(number, client.try_clone()?), (number, server.try_clone()?)]);
        let (from_client, to_client) = (client.try_clone()?, client);
        let (from_server, to_server) = (server.try_clone()?, server);
        let (up, up_connection) = (self.clone(), Arc::clone(&connection));
        thread::spawn(move || up.pump(from_client, to_server, Direction::Up, &up_connection));
        let down = self.clone();
        thread::spawn(move || down.pump(from_server, to_client, Direction::Down, &connection));
        Ok(())
    }

    fn pump(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        direction: Direction,
        connection: &Connection,
    ) {
        let mut buffer = vec![0; 64 * 1024];
        let mut swallows = false;
        // However a direction ends, the other side learns that no more comes.
        while let Ok(length) = from.read(&mut buffer) {
            if length == 0 {
                break;
            }
            let is_up = direction == Direction::Up;
            if swallows || is_up && self.shared.stalled.load(Ordering::SeqCst) {
                continue;
            }
            let count = if is_up {
                &self.shared.sent
            } else {
                &self.shared.received
            };
            let total = count.fetch_add(length as u64, Ordering::SeqCst) + length as u64;
            let bytes = &mut buffer[..length];
            let fault = fault::due(&mut locked(&self.shared.fault), direction, total, length);
            let passed = match fault {
                None => to.write_all(bytes),
                Some((how, at)) => {
                    let passed = fault::write(&mut to, bytes, at, how);
                    match how {
                        How::Stall => swallows = true,
                        How::Truncate => {
                            drop(to.shutdown(Shutdown::Both));
                            break;
                        }
                        How::Reset => {
                            self.reset(connection, &from, &to);
                            return;
                        }
                        How::Duplicate | How::Corrupt => {}
                    }
                    passed
                }
            };
            if passed.is_err() {
                break;
            }
            if is_up {
                self.trip(total);
            }
        }
        if !connection.reset.load(Ordering::SeqCst) {
            drop(to.shutdown(Shutdown::Write));
            drop(from.shutdown(Shutdown::Read));
        }
    }

    /// Closes both ends with a reset, once the last who holds them lets go.
    fn reset(&self, connection: &Connection, from: &TcpStream, to: &TcpStream) {
        connection.reset.store(true, Ordering::SeqCst);
        locked(&self.shared.open).retain(|(number, _)| *number != connection.number);
        for stream in [from, to] {
            // It may be closed already; and the other direction wakes up, and lets go, too.
            let _ = sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO));
            drop(stream.shutdown(Shutdown::Read));
        }
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
