//! A listener's TLS, made of the PEM files that were read.

use std::path::Path;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::config::ServerTls;
use crate::model::time::UnixSeconds;
use crate::snapshot::certificate::not_after;
use crate::snapshot::target::BadTarget;
use crate::snapshot::target::Files;
use crate::snapshot::target::certificates;
use crate::snapshot::target::roots_of;

/// The paths of the PEM files that a listener needs.
pub fn paths_of(tls: &ServerTls) -> impl Iterator<Item = &Path> {
    [&tls.certificate, &tls.private_key].into_iter().chain(&tls.client_ca).map(std::path::PathBuf::as_path)
}

/// Makes a listener's TLS: versions 1.2 and 1.3, HTTP/2 before HTTP/1.1. Says as well when its certificate ends.
///
/// # Errors
/// [`BadTarget`] when a file is missing, holds no PEM, or certificate and key do not belong together.
pub fn server_config(
    tls: &ServerTls,
    files: &Files,
) -> Result<(Arc<rustls::ServerConfig>, Option<UnixSeconds>), BadTarget> {
    let file = |path: &Path| files.get(path).ok_or_else(|| BadTarget::Missing(path.to_owned()));
    let chain = certificates(&tls.certificate, file(&tls.certificate)?)?;
    let ends = chain.first().and_then(|leaf| not_after(leaf));
    let no_key = |_no_pem| BadTarget::Pem { path: tls.private_key.clone(), wanted: "private key" };
    let key = PrivateKeyDer::from_pem_slice(file(&tls.private_key)?).map_err(no_key)?;
    let builder = rustls::ServerConfig::builder();
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(roots_of(path, file(path)?)?);
            let no_verifier = |_unusable| BadTarget::Pem { path: path.clone(), wanted: "usable CA certificate" };
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(roots).build().map_err(no_verifier)?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(BadTarget::Rustls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(config), ends))
}
