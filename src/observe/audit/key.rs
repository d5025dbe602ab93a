//! The audit log's own key: Ed25519, the private half beside the log for its owner only, the public half for whoever
//! verifies, who does best to keep a copy elsewhere.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use aws_lc_rs::signature::ED25519;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::UnparsedPublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::AuditError;
use super::chain::Link;
use crate::model::secret::Secret;

/// The private half's file.
const PRIVATE: &str = "audit.key";

/// The public half's file.
pub const PUBLIC: &str = "audit.pub";

/// No file of ours is longer; a wrong path must not be read to its end.
const LONGEST_FILE: u64 = 1024;

/// What signs checkpoints.
#[derive(Debug)]
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    id: String,
}

impl Signer {
    /// Reads the key of a log, or makes one where there is none.
    ///
    /// # Errors
    /// [`AuditError`]; [`AuditError::OtherKey`] when the public half beside it is another key's.
    pub(super) fn open_or_create(directory: &Path) -> Result<Self, AuditError> {
        let path = directory.join(PRIVATE);
        let seed = match File::open(&path) {
            Ok(file) => read_private(&file, &path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_private(&path)?,
            Err(source) => return Err(AuditError::File { path, source }),
        };
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_rejected| AuditError::NotAKey(path))?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        let public = PublicKey(public);
        let beside = directory.join(PUBLIC);
        match PublicKey::read(&beside) {
            Ok(found) if found == public => {}
            Ok(_) => return Err(AuditError::OtherKey(beside)),
            Err(AuditError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let text = format!("{}\n", STANDARD.encode(public.0));
                write_new(&beside, text.as_bytes(), 0o644)
                    .map_err(|source| AuditError::File { path: beside, source })?;
            }
            Err(error) => return Err(error),
        }
        Ok(Self { pair, id: public.id() })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }
}

/// What verifies checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads a copy of `audit.pub`.
    ///
    /// # Errors
    /// [`AuditError::File`] and [`AuditError::NotAKey`].
    pub fn read(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| AuditError::File { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path).map_err(failed)?.take(LONGEST_FILE).read_to_string(&mut text).map_err(failed)?;
        let bytes = STANDARD.decode(text.trim_ascii_end()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| AuditError::NotAKey(path.to_owned()))
    }

    /// The name of the key in checkpoints: the beginning of its digest.
    #[must_use]
    pub fn id(&self) -> String {
        Link::to(&self.0).to_string().chars().take(16).collect()
    }

    pub(super) fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(bytes, signature).is_ok()
    }
}

fn read_private(file: &File, path: &Path) -> Result<Secret<[u8; 32]>, AuditError> {
    let failed = |source| AuditError::File { path: path.to_owned(), source };
    // The mode is asked of the open file, so that it cannot be another one than what is read.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(AuditError::TooOpen { path: path.to_owned(), mode });
    }
    let mut text = Secret::new(String::with_capacity(64));
    file.take(LONGEST_FILE).read_to_string(text.expose_mut()).map_err(failed)?;
    let mut bytes = Secret::new([0; 33]);
    let length = STANDARD.decode_slice(text.expose().trim_ascii_end(), bytes.expose_mut());
    let seed = bytes.expose().first_chunk().filter(|_| length == Ok(32));
    seed.map(|seed| Secret::new(*seed)).ok_or_else(|| AuditError::NotAKey(path.to_owned()))
}

fn create_private(path: &Path) -> Result<Secret<[u8; 32]>, AuditError> {
    let mut seed = Secret::new([0; 32]);
    aws_lc_rs::rand::fill(seed.expose_mut()).map_err(|_unspecified| AuditError::NoRandomness)?;
    let mut text = Secret::new(STANDARD.encode(seed.expose()));
    text.expose_mut().push('\n');
    write_new(path, text.expose().as_bytes(), 0o600)
        .map_err(|source| AuditError::File { path: path.to_owned(), source })?;
    Ok(seed)
}

/// Writes under another name first, so that the file is whole from the moment that it exists.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft: PathBuf = path.with_extension("new");
    match fs::remove_file(&draft) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
