//! Where a peer is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;

use crate::connect::Connect;
use crate::error::{Error, InvalidEndpointSnafu};
use crate::memory::MemoryConnector;

/// Where a client connects to.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// Plain HTTP over TCP; tokens go to loopback addresses only.
    Http {
        /// A host name or an address, lower case, an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// HTTP over TLS over TCP.
    Https {
        /// A host name or an address, lower case, an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// Plain HTTP over a Unix socket.
    Unix(PathBuf),
    /// Plain HTTP inside this process.
    Memory(MemoryConnector),
    /// Plain HTTP over connections that somebody else makes.
    Custom(Arc<dyn Connect>),
}

impl Endpoint {
    /// Reads `https://host[:port]` or `http://host[:port]`; one `/` at the end is allowed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidEndpoint`] for anything else: another scheme, user info, a path, a query, a fragment.
    /// User info is left out of the error.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |reason| {
            InvalidEndpointSnafu {
                endpoint: without_user_info(text),
                reason,
            }
            .fail()
        };
        if !text.is_ascii() {
            return refuse("only ASCII is allowed; write an international name as `xn--`");
        }
        if text.contains('@') {
            return refuse("user info is not allowed");
        }
        if text.contains(['?', '#']) {
            return refuse("a query or a fragment is not allowed");
        }
        let Ok(uri) = text.parse::<Uri>() else {
            return refuse("it is not a URL");
        };
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return refuse("it must begin with `https://` or `http://`"),
        };
        if !matches!(uri.path(), "" | "/") {
            return refuse("a path is not allowed");
        }
        let Some(authority) = uri.authority() else {
            return refuse("it has no host");
        };
        let host = authority.host().to_ascii_lowercase();
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            None => host,
            Some(inner) => match inner.parse::<Ipv6Addr>() {
                Ok(address) => address.to_string(),
                Err(_) => return refuse("it has no valid IPv6 address in brackets"),
            },
        };
        if host.is_empty() || host.contains(['[', ']', ':']) && host.parse::<Ipv6Addr>().is_err() {
            return refuse("it has no valid host");
        }
        // `Authority` takes any digits for a port, and an empty one.
        let after_host = authority.as_str().rsplit_once(':');
        let port = match after_host {
            Some((_, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return refuse("its port is not between 1 and 65535"),
            },
            _ if tls => 443,
            _ => 80,
        };
        Ok(if tls {
            Self::Https { host, port }
        } else {
            Self::Http { host, port }
        })
    }

    /// Whether what is sent there can be read by nobody else on the way, or never leaves this machine.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Http { host, .. } => is_loopback(host),
            Self::Https { .. } | Self::Unix(_) | Self::Memory(_) => true,
            Self::Custom(connector) => connector.is_private(),
        }
    }

    /// Scheme and authority of requests to it.
    pub(crate) fn origin(&self) -> (&'static str, String) {
        match self {
            Self::Http { host, port } => ("http", authority(host, *port, 80)),
            Self::Https { host, port } => ("https", authority(host, *port, 443)),
            Self::Unix(_) | Self::Memory(_) | Self::Custom(_) => ("http", "localhost".to_owned()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { .. } | Self::Https { .. } => {
                let (scheme, authority) = self.origin();
                write!(f, "{scheme}://{authority}")
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Memory(_) => f.write_str("memory"),
            Self::Custom(connector) => write!(f, "{connector:?}"),
        }
    }
}

/// Whether a host is this machine by its very name; what `localhost` resolves to is checked when connecting.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn authority(host: &str, port: u16, default_port: u16) -> String {
    let brackets = host.contains(':');
    let (open, close) = if brackets { ("[", "]") } else { ("", "") };
    if port == default_port {
        format!("{open}{host}{close}")
    } else {
        format!("{open}{host}{close}:{port}")
    }
}

fn without_user_info(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
    if scheme.is_empty() {
        format!("***@{after}")
    } else {
        format!("{scheme}://***@{after}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let got = match Endpoint::parse(text) {
            Ok(endpoint) => Ok(match &endpoint {
                Endpoint::Http { host, port } => format!("plain {host} {port} {endpoint}"),
                Endpoint::Https { host, port } => format!("tls {host} {port} {endpoint}"),
                other => panic!("{other:?}"),
            }),
            Err(error) => Err(error.to_string()),
        };
        match (&got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}"),
            _ => panic!("{text:?} gave {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn reads_origins_and_nothing_else() {
        check(
            "https://Example.com",
            Ok("tls example.com 443 https://example.com"),
        );
        check("https://a.b/", Ok("tls a.b 443 https://a.b"));
        check("https://a:8443", Ok("tls a 8443 https://a:8443"));
        check(
            "http://127.0.0.1:80",
            Ok("plain 127.0.0.1 80 http://127.0.0.1"),
        );
        check("https://[::1]:9", Ok("tls ::1 9 https://[::1]:9"));
        check("https://[0:0::1]", Ok("tls ::1 443 https://[::1]"));
        check("https://a/b", Err("path"));
        check("https://a?b", Err("query"));
        check("https://a#b", Err("fragment"));
        check("ftp://a", Err("begin with"));
        check("a", Err("begin with"));
        check("", Err("not a URL"));
        check("https://", Err("not a URL"));
        check("https://a:0", Err("port"));
        check("https://a:99999", Err("port"));
        check("https://a:", Err("port"));
        check("https://[::1", Err("not a URL"));
        check("https://[zz]", Err("IPv6"));
        check("https://a b", Err("not a URL"));
        check("https://bücher.example", Err("xn--"));
    }

    #[test]
    fn user_info_is_refused_and_not_repeated() {
        check("https://u:hunter2@a", Err("`https://***@a`"));
        let error = Endpoint::parse("https://u:hunter2@x@a")
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(
            !Endpoint::parse("hunter2@a")
                .unwrap_err()
                .to_string()
                .contains("hunter2")
        );
    }

    #[test]
    fn only_loopback_is_private_without_tls() {
        let private = |text| Endpoint::parse(text).unwrap().is_private();
        assert!(private("http://127.0.0.1"));
        assert!(private("http://127.8.8.8:99"));
        assert!(private("http://[::1]"));
        assert!(private("http://localhost"));
        assert!(private("https://example.com"));
        assert!(!private("http://example.com"));
        assert!(!private("http://localhost.example.com"));
        assert!(!private("http://10.0.0.1"));
        assert!(!private("http://127.0.0.1.example.com"));
    }
}
