//! The gateway between servers and clients that nobody here wrote.

mod azureml;
mod clients;
mod events;
mod mlserver;
mod websocket;

use std::net::SocketAddr;

use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;

/// Opens every key service here.
const KEY: &str = "the-key-that-opens-the-service-0123456789";

/// `Authorization` with [`KEY`].
const BEARER: (&str, &str) = ("authorization", "Bearer the-key-that-opens-the-service-0123456789");

/// A gateway in front of one server, with one service `model` at `/`, by [`KEY`]; `more` are more lines of it.
fn by_key(scheme: &str, server: SocketAddr, more: &str) -> Gateway {
    let directory = scratch();
    std::fs::write(directory.path().join("key"), KEY).unwrap();
    Gateway::start_in(
        directory,
        &format!(
            "
upstreams: {{model: {{endpoints: ['{scheme}://{server}']}}}}
services:
  model:
    match: [{{prefix: /}}]
    upstream: model
    auth: {{key: {{keys: {{primary: {{key: 'file:$DIR/key'}}}}}}}}
    {more}
"
        ),
    )
}
