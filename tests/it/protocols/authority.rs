//! Certificates: an authority that a test makes up, and both sides of TLS with them.

use std::fs;
use std::io::Cursor;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::NamedGroup;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use rustls::crypto::CryptoProvider;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject as _;

use super::wire::Wire;
use crate::support::PATIENCE;

/// Who signs certificates that nobody else trusts.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) pem: String,
}

/// A certificate and its key, PEM.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate whose subject is its issuer's for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a DNS name or an IP address.
    pub(crate) fn certify(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&self.pem));
        roots
    }

    /// A client that trusts this authority, offers these protocols, and shows a certificate if it has one.
    pub(crate) fn client(&self, alpn: &[&str], identity: Option<&Identity>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(self.roots());
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                builder.with_client_auth_cert(certificates(&identity.certificate), key(identity)).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// The key exchange that a client of this authority and a server agree on when the client offers these.
    pub(crate) fn agreed_group(
        &self,
        address: SocketAddr,
        offers: Vec<&'static dyn SupportedKxGroup>,
    ) -> Option<NamedGroup> {
        let provider = CryptoProvider { kx_groups: offers, ..aws_lc_rs::default_provider() };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_root_certificates(self.roots()).with_no_client_auth();
        let mut tcp = patient(TcpStream::connect(address).unwrap());
        let mut session = session("localhost", Arc::new(config));
        while session.is_handshaking() {
            session.complete_io(&mut tcp).ok()?;
        }
        session.negotiated_key_exchange_group().map(SupportedKxGroup::name)
    }
}

impl Identity {
    /// Writes `<name>.crt` and `<name>.key`.
    pub(crate) fn write(&self, directory: &Path, name: &str) {
        fs::write(directory.join(format!("{name}.crt")), &self.certificate).unwrap();
        fs::write(directory.join(format!("{name}.key")), &self.key).unwrap();
    }

    /// A server with this certificate; with an authority given, it wants a certificate of that from its clients.
    pub(crate) fn server(&self, alpn: &[&str], clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(certificates(&self.certificate), key(self)).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_reader_iter(Cursor::new(pem)).map(Result::unwrap).collect()
}

fn key(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap()
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connects to a server that has to have a certificate for `localhost`, and says which protocol was agreed on.
pub(crate) fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<(Wire, Option<Vec<u8>>)> {
    connect_to("localhost", address, config)
}

/// The same for a certificate of another name.
pub(crate) fn connect_to(
    name: &str,
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<(Wire, Option<Vec<u8>>)> {
    let mut tcp = patient(TcpStream::connect(address)?);
    let mut session = session(name, config);
    while session.is_handshaking() {
        session.complete_io(&mut tcp)?;
    }
    let agreed = session.alpn_protocol().map(<[u8]>::to_vec);
    Ok((Wire::new(StreamOwned::new(session, tcp)), agreed))
}

fn session(name: &str, config: Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config, ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

/// The server's side of a connection; the handshake runs with the first byte that is read.
pub(crate) fn accept(stream: TcpStream, config: &Arc<ServerConfig>) -> Wire {
    let session = ServerConnection::new(Arc::clone(config)).unwrap();
    Wire::new(StreamOwned::new(session, patient(stream)))
}
