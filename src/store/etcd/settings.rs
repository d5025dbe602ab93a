//! Which etcd, where in it, and what it is shown: the configuration with its files and secrets read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use etcd_client::{Certificate, Identity, TlsOptions};

use crate::config::{self, ClientTls, SecretRef};
use crate::model::secret::Secret;

/// Which etcd, and where in it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its members, `http://<host>:<port>` or `https://<host>:<port>`; at least one.
    pub endpoints: Vec<String>,
    /// What every key starts with, such as `/scoregate/`; not empty. Two gateways with different prefixes share nothing.
    pub prefix: String,
    /// User and password, where etcd asks for them.
    pub user: Option<(String, Secret<String>)>,
    /// Trust in `https` members, and what they are shown.
    pub tls: Option<TlsOptions>,
}

/// Why an etcd cannot be asked with what the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A certificate, a key or the password could not be read.
    #[error("{} could not be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The environment variable is not set or no text.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// `credential:` outside of systemd.
    #[error("$CREDENTIALS_DIRECTORY is not set, and etcd's password is to be the credential {0}")]
    NoCredentials(String),
}

impl Settings {
    /// Reads what the configuration refers to.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(config: &config::Etcd) -> Result<Self, SettingsError> {
        let user = match &config.user {
            Some((name, reference)) => Some((name.clone(), password(reference)?)),
            None => None,
        };
        let tls = config.tls.as_ref().map(tls).transpose()?;
        Ok(Self { endpoints: config.endpoints.clone(), prefix: config.prefix.clone(), user, tls })
    }
}

fn tls(config: &ClientTls) -> Result<TlsOptions, SettingsError> {
    let mut tls = TlsOptions::new();
    tls = match &config.ca {
        Some(ca) => tls.ca_certificate(Certificate::from_pem(read(ca)?)),
        None => tls.with_native_roots(),
    };
    if let Some(name) = &config.server_name {
        tls = tls.domain_name(name);
    }
    if let Some((certificate, key)) = &config.client {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

fn password(reference: &SecretRef) -> Result<Secret<String>, SettingsError> {
    let text = match reference {
        SecretRef::File(path) => read(path)?,
        SecretRef::Env(name) => std::env::var(name).map_err(|_unset| SettingsError::NotSet(name.clone()))?,
        SecretRef::Credential(name) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
            let directory = directory.ok_or_else(|| SettingsError::NoCredentials(name.clone()))?;
            read(&Path::new(&directory).join(name))?
        }
    };
    let text = Secret::new(text);
    Ok(Secret::new(text.expose().trim_end_matches(['\r', '\n']).to_owned()))
}

fn read(path: &Path) -> Result<String, SettingsError> {
    fs::read_to_string(path).map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })
}
