//! From the address of a tenant to a client of its server.

use std::path::Path;

use sync_transport::{Client, ClientOptions, ClientTls, Endpoint, Secret};

use crate::Error;

/// A client of the server at `url` that presents `token`; nothing is connected yet.
///
/// # Errors
///
/// [`Error::Transport`] where the address is not valid, or the certificates to trust cannot be read.
pub fn client(url: &str, ca_file: Option<&Path>, token: &str) -> Result<Client, Error> {
    let endpoint = Endpoint::parse(url)?;
    let tls = match endpoint {
        Endpoint::Https { .. } => Some(ClientTls::new(ca_file)?),
        _ => None,
    };
    // A run makes a few requests one after the other: HTTP/2 would cost more and give nothing.
    let options = ClientOptions {
        http2: false,
        ..ClientOptions::default()
    };
    let token = Some(Secret::new(token));
    Ok(Client::new(endpoint, tls, token, options))
}
