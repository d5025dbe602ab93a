//! One connection to one endpoint, within its time.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;

use crate::config::EndpointAddress;
use crate::config::Protocol;
use crate::model::refusal::Failed;
use crate::snapshot::target::Endpoint;
use crate::upstream::stream::Stream;

/// Connects, TLS included.
///
/// # Errors
/// [`Failed::UpstreamConnectTimeout`] after `within`, [`Failed::UpstreamTls`] when the handshake fails or does
/// not agree on HTTP/2 where that is to be spoken, [`Failed::UpstreamUnreachable`] for the rest.
pub async fn connect(endpoint: &Endpoint, within: Duration) -> Result<Stream, Failed> {
    tokio::time::timeout(within, open(endpoint)).await.unwrap_or(Err(Failed::UpstreamConnectTimeout))
}

async fn open(endpoint: &Endpoint) -> Result<Stream, Failed> {
    let plain = match &endpoint.at {
        EndpointAddress::Tcp { host, port } => {
            let tcp =
                TcpStream::connect((host.as_str(), *port)).await.map_err(|error| unreachable(endpoint, &error))?;
            // A request is written whole; waiting for more to send with it only adds delay.
            tcp.set_nodelay(true).map_err(|error| unreachable(endpoint, &error))?;
            Stream::Tcp(tcp)
        }
        EndpointAddress::Unix(path) => {
            Stream::Unix(UnixStream::connect(path).await.map_err(|error| unreachable(endpoint, &error))?)
        }
    };
    let Some(tls) = &endpoint.tls else { return Ok(plain) };
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let stream = connector.connect(tls.server_name.clone(), plain).await.map_err(|error| {
        tracing::debug!(endpoint = %endpoint.label, %error, "TLS to the upstream failed");
        Failed::UpstreamTls
    })?;
    let agreed = stream.get_ref().1.alpn_protocol();
    match endpoint.protocol {
        Protocol::Http2 if agreed != Some(b"h2") => Err(Failed::UpstreamTls),
        Protocol::Http1 | Protocol::Http2 => Ok(Stream::Tls(Box::new(stream.into()))),
    }
}

fn unreachable(endpoint: &Endpoint, error: &std::io::Error) -> Failed {
    tracing::debug!(endpoint = %endpoint.label, %error, "the upstream could not be reached");
    Failed::UpstreamUnreachable
}
