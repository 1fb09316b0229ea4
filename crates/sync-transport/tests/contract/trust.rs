//! Whom a client trusts, and where a token goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Request;
use sync_core::{Class, Fault as _};
use sync_transport::{
    Body, Call, Client, ClientTls, Endpoint, Error, Listener, Peer, Secret, ServerOptions,
    ServerTls, TlsTrouble, serve,
};

use crate::setup::{Authority, LOOPBACK, answer, at_once, echo, text};

/// What a client that trusts `trusted` says to a server with the given certificate; how often it asked does not matter.
async fn ask(tls: Option<ServerTls>, trusted: ClientTls, scheme: &str) -> Result<u16, Error> {
    let listener = Listener::bind_tcp(LOOPBACK, tls).await.unwrap();
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicU64::new(0));
    let handler = {
        let seen = Arc::clone(&seen);
        move |_: Request<Body>, _: Peer| {
            seen.fetch_add(1, Ordering::SeqCst);
            async { answer(200, "") }
        }
    };
    let endpoint = Endpoint::parse(&url).unwrap();
    let client = Client::new(endpoint, Some(trusted), None, at_once(5));
    let mut result = None;
    let ask = async { result = Some(client.send(Call::get("/")).await) };
    let drained = serve(
        vec![listener],
        Arc::new(handler),
        ServerOptions::default(),
        ask,
    )
    .await;
    let result = result.unwrap().map(|response| response.status().as_u16());
    let expected = u64::from(result.is_ok());
    assert_eq!(drained.unwrap().requests, expected);
    assert_eq!(seen.load(Ordering::SeqCst), expected);
    if scheme == "https" {
        // Nothing was sent to whom we do not trust.
        assert_eq!(client.traffic().requests, expected);
    }
    result
}

#[track_caller]
fn check(result: Result<u16, Error>, code: &str, class: Class, hint: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error:?}");
    assert_eq!(error.class(), class);
    assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
}

#[tokio::test]
async fn a_certificate_of_our_authority_is_trusted() {
    let authority = Authority::new();
    let server = authority.server(Some("127.0.0.1"), 2999);
    assert_eq!(
        ask(Some(server), authority.trusted(), "https")
            .await
            .unwrap(),
        200
    );
}

#[tokio::test]
async fn one_of_another_authority_is_not() {
    let server = Authority::new().server(Some("127.0.0.1"), 2999);
    let result = ask(Some(server), Authority::new().trusted(), "https").await;
    check(
        result,
        "transport/tls-untrusted",
        Class::Integrity,
        "remote.ca_file",
    );
}

#[tokio::test]
async fn one_for_another_host_is_not() {
    let authority = Authority::new();
    let server = authority.server(Some("example.com"), 2999);
    let result = ask(Some(server), authority.trusted(), "https").await;
    check(
        result,
        "transport/tls-wrong-name",
        Class::Integrity,
        "host name",
    );
}

#[tokio::test]
async fn an_expired_one_is_not() {
    let authority = Authority::new();
    let server = authority.server(Some("127.0.0.1"), 2001);
    let result = ask(Some(server), authority.trusted(), "https").await;
    check(result, "transport/tls-expired", Class::Integrity, "renew");
}

#[tokio::test]
async fn a_server_without_tls_is_said_to_be_one() {
    let result = ask(None, Authority::new().trusted(), "https").await;
    check(result, "transport/tls-failed", Class::Failed, "port");
}

#[tokio::test]
async fn a_server_with_tls_is_not_spoken_to_in_plain() {
    let server = Authority::new().server(Some("127.0.0.1"), 2999);
    let error = ask(Some(server), Authority::new().trusted(), "http")
        .await
        .unwrap_err();
    let about_the_peer = matches!(error, Error::Protocol { .. } | Error::Lost { .. });
    assert!(about_the_peer, "{error:?}");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let dir = tempfile::TempDir::new().unwrap();
    let missing = dir.path().join("missing.pem");
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for path in [&missing, &empty] {
        let error = ClientTls::new(Some(path)).unwrap_err();
        assert_eq!(
            (error.code(), error.class()),
            ("transport/certificates", Class::Usage)
        );
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
    let authority = Authority::new();
    let own = dir.path().join("ca.pem");
    std::fs::write(&own, authority.pem()).unwrap();
    ClientTls::new(Some(&own)).unwrap();
    let (certificate, key) = authority.certificate(Some("a"), 2999);
    let (_, other_key) = authority.certificate(Some("b"), 2999);
    ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    for (certificate, key) in [
        (certificate.as_str(), other_key.as_str()),
        (certificate.as_str(), ""),
        ("", key.as_str()),
        ("nonsense", "nonsense"),
    ] {
        let error = ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "transport/certificates");
    }
    let error = ServerTls::from_files(&missing, &own).unwrap_err();
    assert!(error.to_string().contains("missing.pem"), "{error}");
}

#[tokio::test]
async fn a_token_is_not_sent_where_others_can_read_it() {
    let token = || Some(Secret::new("hunter2"));
    // TEST-NET-1: nothing is there, and nothing is asked.
    for url in ["http://192.0.2.1", "http://example.invalid"] {
        let endpoint = Endpoint::parse(url).unwrap();
        let client = Client::new(endpoint, None, token(), at_once(5));
        client.connect_early();
        let error = client.send(Call::get("/")).await.unwrap_err();
        assert_eq!(error.code(), "transport/insecure-token");
        assert_eq!(error.class(), Class::Usage);
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert_eq!(client.traffic().bytes_sent, 0);
    }
}

#[tokio::test]
async fn localhost_is_loopback_for_a_token() {
    let listener = Listener::bind_tcp(LOOPBACK, None).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = Endpoint::parse(&format!("http://localhost:{port}")).unwrap();
    let client = Client::new(endpoint, None, Some(Secret::new("t")), at_once(1));
    let ask = async {
        let call = Call::post("/").body(b"hi".to_vec());
        assert_eq!(text(client.send(call).await.unwrap()).await, "hi");
    };
    serve(
        vec![listener],
        Arc::new(echo),
        ServerOptions::default(),
        ask,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_token_that_cannot_be_sent_is_refused_and_not_shown() {
    let (connector, _listener) = Listener::memory();
    let token = Some(Secret::new("hunter2\n"));
    let client = Client::new(Endpoint::Memory(connector), None, token, at_once(1));
    let error = client.send(Call::get("/")).await.unwrap_err();
    assert_eq!(error.code(), "transport/invalid-call");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn https_without_authorities_is_a_mistake_of_the_caller() {
    let listener = Listener::bind_tcp(LOOPBACK, None).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let client = Client::new(Endpoint::parse(&url).unwrap(), None, None, at_once(1));
    let error = client.send(Call::get("/")).await.unwrap_err();
    assert_eq!(error.code(), "transport/invalid-endpoint");
}

#[test]
fn troubles_have_codes_of_their_own() {
    use std::collections::BTreeSet;
    let codes: BTreeSet<_> = [
        TlsTrouble::Untrusted,
        TlsTrouble::WrongName,
        TlsTrouble::Expired,
        TlsTrouble::Other,
    ]
    .map(|trouble| {
        let source = std::io::Error::other("");
        let endpoint = String::new();
        Error::Tls {
            endpoint,
            trouble,
            source,
        }
        .code()
    })
    .into();
    assert_eq!(codes.len(), 4);
}
