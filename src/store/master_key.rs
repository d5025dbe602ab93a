//! Where the master key comes from: a file of ours, or a reference in the configuration.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::seal::MasterKey;
use crate::config::SecretRef;
use crate::model::secret::Secret;

/// The name of the file in the store's directory where the configuration names no other place.
pub const FILE: &str = "master.key";

/// The name of the one that takes its place, from when it is made until everything is sealed under it.
pub const NEXT: &str = "master.key.next";

/// The key that everything is to be sealed under.
#[derive(Debug)]
pub enum Next {
    /// The configured one; the ones before it are to go.
    Configured,
    /// This one.
    Given(SecretRef),
    /// A new one of ours.
    Own,
}

/// The master key's bytes.
pub type Bytes = Secret<[u8; MasterKey::BYTES]>;

/// No file of ours is longer: 32 bytes in base64, and a line end. A wrong path must not be read to its end.
const LONGEST_FILE: u64 = 1024;

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file could not be read or made.
    #[error("the master key {} could not be read or made", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may use the file.
    #[error("want the master key {} to have mode {want}, it has {mode:04o}", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The modes that it may have.
        want: &'static str,
    },
    /// The content is not a key.
    #[error("want the master key in {at} to be 32 random bytes in base64, such as `openssl rand -base64 32` prints")]
    Malformed {
        /// Where it is.
        at: String,
    },
    /// The environment variable is not set or no text.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// `credential:` outside of systemd.
    #[error("$CREDENTIALS_DIRECTORY is not set, and the master key is to be the credential {0}")]
    NoCredentials(String),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// Which modes a key file may have.
#[derive(Clone, Copy)]
struct Allowed {
    forbidden: u32,
    want: &'static str,
}

const OWN: Allowed = Allowed { forbidden: 0o077, want: "0600" };
const MOUNTED: Allowed = Allowed { forbidden: 0o037, want: "0600, 0400 or 0440" };

/// Reads the key that the configuration refers to. A file may be readable by its group: that is how
/// Kubernetes mounts a Secret for a process that is not root.
///
/// # Errors
/// [`MasterKeyError`]; a missing file is an error, since a mistyped path must not make a new key.
pub fn read(from: &SecretRef) -> Result<Bytes, MasterKeyError> {
    match from {
        SecretRef::File(path) => read_file(path, MOUNTED),
        SecretRef::Env(name) => {
            let text = std::env::var(name).map_err(|_unset| MasterKeyError::NotSet(name.clone()))?;
            parse(&Secret::new(text), &format!("the environment variable {name}"))
        }
        SecretRef::Credential(name) => {
            let directory =
                std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| MasterKeyError::NoCredentials(name.clone()))?;
            read_file(&Path::new(&directory).join(name), MOUNTED)
        }
    }
}

/// Reads our own key file; `None` where there is none.
///
/// # Errors
/// [`MasterKeyError`].
pub fn read_own(path: &Path) -> Result<Option<Bytes>, MasterKeyError> {
    match read_file(path, OWN) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(MasterKeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes our own key file. When this returns, the key survives a power cut; a crash before leaves no key file.
///
/// # Errors
/// [`MasterKeyError::File`], also when there is one already, and [`MasterKeyError::NoRandomness`].
pub fn create_own(path: &Path) -> Result<Bytes, MasterKeyError> {
    let mut bytes = [0; MasterKey::BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|Unspecified| MasterKeyError::NoRandomness)?;
    let bytes = Secret::new(bytes);
    write_new(path, &bytes).map_err(|source| MasterKeyError::File { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// The key that is to take the place of our own: the one that an earlier attempt made, or a new one.
///
/// # Errors
/// [`MasterKeyError`].
pub fn next_own(directory: &Path) -> Result<Bytes, MasterKeyError> {
    let path = directory.join(NEXT);
    read_own(&path)?.map_or_else(|| create_own(&path), Ok)
}

/// Puts the next key in the place of our own, which is kept under its identifier: older exports need it.
///
/// To be called when nothing is sealed under the old one any more. A gateway opens the store whenever this stops.
///
/// # Errors
/// [`MasterKeyError`].
pub fn replace_own(directory: &Path) -> Result<(), MasterKeyError> {
    keep_own(directory)?;
    let path = directory.join(FILE);
    let replaced = fs::rename(directory.join(NEXT), &path).and_then(|()| File::open(directory)?.sync_all());
    replaced.map_err(|source| MasterKeyError::File { path, source })
}

/// Gives our own key a second name, by its identifier.
pub(super) fn keep_own(directory: &Path) -> Result<(), MasterKeyError> {
    let path = directory.join(FILE);
    let Some(bytes) = read_own(&path)? else { return Ok(()) };
    let id = MasterKey::new(&bytes).map_err(|_library_failed| MasterKeyError::NoRandomness)?.id();
    match fs::hard_link(&path, directory.join(format!("{FILE}.{id}"))) {
        Ok(()) => Ok(()),
        // By an attempt that stopped after it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(MasterKeyError::File { path, source }),
    }
}

/// Writes under another name first, so that the file is whole from the moment that it exists.
fn write_new(path: &Path, bytes: &Bytes) -> io::Result<()> {
    let draft = path.with_extension("key.new");
    // A draft that a crash left behind was never used.
    match fs::remove_file(&draft) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let text = Secret::new(STANDARD.encode(bytes.expose()));
    file.write_all(text.expose().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    // Unlike a rename, a link never replaces a key that another process made meanwhile.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    linked?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn read_file(path: &Path, allowed: Allowed) -> Result<Bytes, MasterKeyError> {
    let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
    // The mode is asked of the open file, so that it cannot be another one than what is read.
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & allowed.forbidden != 0 {
        return Err(MasterKeyError::TooOpen { path: path.to_owned(), mode, want: allowed.want });
    }
    let mut text = Secret::new(String::with_capacity(usize::try_from(LONGEST_FILE).unwrap_or_default()));
    file.take(LONGEST_FILE).read_to_string(text.expose_mut()).map_err(failed)?;
    parse(&text, &path.display().to_string())
}

fn parse(text: &Secret<String>, at: &str) -> Result<Bytes, MasterKeyError> {
    let mut bytes = Secret::new([0; MasterKey::BYTES + 1]);
    let text = text.expose().trim_end_matches(['\r', '\n']);
    let malformed = || MasterKeyError::Malformed { at: at.to_owned() };
    let length = STANDARD.decode_slice(text, bytes.expose_mut()).map_err(|_quotes_bytes| malformed())?;
    let key = bytes.expose().first_chunk().filter(|_| length == MasterKey::BYTES).ok_or_else(malformed)?;
    Ok(Secret::new(*key))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{FILE, MasterKeyError, create_own, read, read_own};
    use crate::config::SecretRef;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_key_is_made_once_and_read_ever_after() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert!(read_own(&path).unwrap().is_none());
        fs::write(path.with_extension("key.new"), "left by a crash").unwrap();
        let made = create_own(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read_own(&path).unwrap().unwrap() == made);
        assert!(matches!(create_own(&path), Err(MasterKeyError::File { .. })), "a second key in place of the first");
        assert!(read_own(&path).unwrap().unwrap() == made);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_a_file_that_others_cannot_use_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, KEY).unwrap();
        for (mode, own, mounted) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o640, false, true),
            (0o660, false, false),
            (0o644, false, false),
            (0o604, false, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_own(&path).is_ok(), own, "our own with {mode:o}");
            assert_eq!(read(&SecretRef::File(path.clone())).is_ok(), mounted, "a mounted one with {mode:o}");
        }
        assert!(read_own(&path).unwrap_err().to_string().contains("0604"));
    }

    #[test]
    fn only_thirty_two_bytes_are_a_key_and_no_message_shows_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for (text, fits) in [
            (KEY.to_owned(), true),
            (format!("{KEY}\r\n"), true),
            (String::new(), false),
            ("AAEC".to_owned(), false),
            (format!(" {KEY}"), false),
            (format!("{KEY}{KEY}"), false),
            (KEY.replace("Hh8=", "Hh8gIQ=="), false),
            (KEY.replace('=', ""), false),
        ] {
            fs::write(&path, &text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let outcome = read_own(&path);
            assert_eq!(outcome.is_ok(), fits, "{text:?}");
            if let Err(error) = outcome {
                assert!(!format!("{error} {error:?}").contains("AAEC"), "{error:?}");
            }
        }
    }
}
