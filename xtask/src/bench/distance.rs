//! A far end that is further away: what passes waits for as long as it would travel.
//!
//! A connection to loopback is open at once, where a distant one takes a round trip to open.
//! So what a client says before it has heard anything waits for a whole round trip more: it could not have been said earlier.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use snafu::ResultExt as _;

use crate::error::{IoSnafu, Result};

/// The time that something takes there and back.
pub(super) const ROUND_TRIP: Duration = Duration::from_millis(20);

/// Bytes, and when they arrive; no bytes are the end.
type Travelling = (Instant, Vec<u8>);

/// Listens on a free port of loopback, which is the target seen from far away; it goes on until the process ends.
pub(super) fn far_away(target: SocketAddr) -> Result<SocketAddr> {
    let context = IoSnafu {
        action: "listen on loopback",
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(context)?;
    let address = listener.local_addr().context(context)?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A target that is away looks like a connection that is closed at once.
            drop(connect(client, target));
        }
    });
    Ok(address)
}

fn connect(client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let is_open = Arc::new(AtomicBool::new(false));
    let opening = Arc::clone(&is_open);
    let up = move || {
        let opened = opening.load(Ordering::SeqCst);
        ROUND_TRIP / 2 + if opened { Duration::ZERO } else { ROUND_TRIP }
    };
    carry(client.try_clone()?, server.try_clone()?, up, || {});
    carry(
        server,
        client,
        || ROUND_TRIP / 2,
        move || is_open.store(true, Ordering::SeqCst),
    );
    Ok(())
}

/// Carries one direction: each piece arrives so long after it was sent, and never before an earlier one.
fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    delay: impl Fn() -> Duration + Send + 'static,
    arrived: impl Fn() + Send + 'static,
) {
    let (sender, receiver) = mpsc::channel::<Travelling>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut buffer).unwrap_or(0);
            let travelling = (Instant::now() + delay(), buffer[..length].to_vec());
            if sender.send(travelling).is_err() || length == 0 {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (at, bytes) in receiver {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            arrived();
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_takes_a_round_trip_and_the_first_one_two() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut to = stream.try_clone().unwrap();
            io::copy(&mut stream, &mut to)
        });
        let mut stream = TcpStream::connect(far_away(target).unwrap()).unwrap();
        let mut ask = || {
            let began = Instant::now();
            stream.write_all(b"?").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            began.elapsed()
        };
        // A busy machine may take longer, never less.
        assert!(ask() >= ROUND_TRIP * 2);
        assert!(ask() >= ROUND_TRIP);
    }
}
