//! A server that is too busy, and says so a few times before it does what it is asked.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    super::trees::{self, assert_same},
    Place,
};

/// What a front says instead of passing a request on.
#[derive(Debug, Clone, Default)]
pub(in crate::e2e) struct Script {
    /// How the requests that it refuses begin.
    pub(in crate::e2e) method: &'static str,
    pub(in crate::e2e) status: &'static str,
    pub(in crate::e2e) retry_after: Option<&'static str>,
    pub(in crate::e2e) left: usize,
}

/// An HTTP front before a server: it passes on what its script lets through.
#[derive(Debug, Clone)]
pub(in crate::e2e) struct Front {
    pub(in crate::e2e) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    refused: Arc<AtomicUsize>,
}

impl Front {
    /// Listens on a free port of loopback.
    pub(in crate::e2e) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let front = Self {
            address: listener.local_addr().expect("an address"),
            script: Arc::default(),
            refused: Arc::default(),
        };
        let accepting = front.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let front = accepting.clone();
                // A client that goes away ends its connection, and nothing else.
                thread::spawn(move || drop(front.serve(client, target)));
            }
        });
        front
    }

    /// Follows another script from now on.
    pub(in crate::e2e) fn play(&self, script: Script) {
        self.refused.store(0, Ordering::SeqCst);
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// How many requests it has refused by its script so far.
    pub(in crate::e2e) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// What it says to a request, where it does not pass it on.
    fn refusal(&self, request: &str) -> Option<String> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        if script.left == 0 || !request.starts_with(script.method) {
            return None;
        }
        script.left -= 1;
        self.refused.fetch_add(1, Ordering::SeqCst);
        let after = script
            .retry_after
            .map_or_else(String::new, |after| format!("retry-after: {after}\r\n"));
        Some(format!(
            "HTTP/1.1 {}\r\n{after}connection: close\r\ncontent-length: 0\r\n\r\n",
            script.status
        ))
    }

    /// Serves one request: what is passed on is told to close, so that every request has a connection of its own.
    fn serve(&self, mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let mut head = String::new();
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
        if let Some(refusal) = self.refusal(&head) {
            client.write_all(refusal.as_bytes())?;
            client.shutdown(Shutdown::Write)?;
            // Closing with something unread would take the answer back.
            return io::copy(&mut reader, &mut io::sink()).map(drop);
        }
        head.push_str("connection: close\r\n");
        let mut server = TcpStream::connect(target)?;
        server.write_all(head.as_bytes())?;
        let mut upstream = server.try_clone()?;
        thread::spawn(move || io::copy(&mut reader, &mut upstream));
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        client.write_all(&answer)?;
        client.shutdown(Shutdown::Both)
    }
}

pub(super) fn a_busy_server_is_asked_again(place: &Place) {
    let own = place.own_plain_server();
    let front = Front::start(own.server.address());
    let url = format!("http://127.0.0.1:{}", front.address.port());
    let [here, there] = ["front", "back"]
        .map(|name| place.workspace_in(&place.directory().join(name), &url, &own.token));
    trees::sample(&here.services());
    here.push().ok();
    let mut number = 0;
    for method in ["GET", "POST"] {
        for status in ["429 Too Many Requests", "503 Service Unavailable"] {
            for (retry_after, left) in [(None, 2), (Some("1"), 1), (Some("7200"), 1)] {
                let case = format!("{method} {status}, retry-after {retry_after:?}");
                let script = Script {
                    method,
                    status,
                    retry_after,
                    left,
                };
                number += 1;
                let text = format!("version {number}\n");
                trees::write(&here.services(), "agents/triage.yaml", &text);
                front.play(script.clone());
                let pushed = here.push();
                check(&front, &pushed, retry_after, &case);
                front.play(Script::default());
                here.push().ok();
                let tree = trees::traces(&there.services());
                front.play(script);
                let pulled = there.pull();
                check(&front, &pulled, retry_after, &case);
                if pulled.code != 0 {
                    trees::assert_untouched(&there.services(), &tree);
                }
                front.play(Script::default());
                there.pull().ok();
                assert_same(&here.services(), &there.services());
            }
        }
    }
}

/// Done after some waiting, or put off for later where the server asks for hours.
#[track_caller]
fn check(front: &Front, answer: &super::super::cli::Answer, retry_after: Option<&str>, case: &str) {
    assert!(front.refused() > 0, "{case}: nothing was refused");
    let expected = if retry_after == Some("7200") { 4 } else { 0 };
    assert_eq!(
        answer.code, expected,
        "{case}\n{}{}",
        answer.stdout, answer.stderr
    );
}
