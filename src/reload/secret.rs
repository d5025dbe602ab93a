//! Secrets and the files they lie in.

use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use crate::config::SecretRef;
use crate::config::SlotRef;
use crate::config::Slots;
use crate::model::digest::Digest;
use crate::model::secret::Secret;
use crate::model::slot::Slot;
use crate::snapshot::inputs::SlotKey;
use crate::tokens::jwks::BadJwks;
use crate::tokens::jwks::SecretTooShort;

/// Largest file that is read for a secret, a certificate or a JWKS, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Shortest key that is taken from a file or the environment, in characters: below that it can be guessed.
pub const MIN_KEY_CHARACTERS: usize = 16;

/// Longest key, in characters: a header line must hold it.
pub const MAX_KEY_CHARACTERS: usize = 1024;

/// Why a secret cannot be used. Never says what it is.
#[derive(Debug, thiserror::Error)]
pub enum BadSecret {
    /// The file could not be read.
    #[error("{} could not be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Reading it could wait for somebody else, and everything with it.
    #[error("{} is no regular file", .0.display())]
    NotAFile(PathBuf),
    /// The file is larger than any secret.
    #[error("{} is larger than 1 MiB", .0.display())]
    TooLarge(PathBuf),
    /// The file or variable is empty.
    #[error("{0} is empty")]
    Empty(String),
    /// The environment has no such variable.
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    /// There is no directory of credentials.
    #[error("$CREDENTIALS_DIRECTORY is not set; it names the directory of systemd's credentials")]
    NoCredentials,
    /// The text cannot be a key.
    #[error("{0} holds no usable key: want 16 to 1024 visible ASCII characters without spaces and commas")]
    NotAKey(String),
    /// Neither slot has a file.
    #[error("{} holds neither a file primary nor a file secondary", .0.display())]
    NoSlots(PathBuf),
    /// The file is no JWKS.
    #[error("{} is no usable JWKS", path.display())]
    KeySet {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: BadJwks,
    },
    /// The shared secret can be guessed.
    #[error(transparent)]
    TooShort(SecretTooShort),
    /// Both slots hold the same key.
    #[error("both slots hold the same key; regenerating one of them would change nothing")]
    SameKeyTwice,
}

/// Reads a file of at most [`MAX_FILE_BYTES`].
///
/// # Errors
/// [`BadSecret::Unreadable`], [`BadSecret::NotAFile`] or [`BadSecret::TooLarge`].
pub fn read_file(path: &Path) -> Result<Vec<u8>, BadSecret> {
    let unreadable = |source| BadSecret::Unreadable { path: path.to_owned(), source };
    // Asked before it is opened: opening a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(BadSecret::NotAFile(path.to_owned()));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if read as u64 > MAX_FILE_BYTES { Err(BadSecret::TooLarge(path.to_owned())) } else { Ok(bytes) }
}

/// Reads a secret; line ends at its end are not part of it.
///
/// # Errors
/// [`BadSecret`], which names the reference and never the value.
pub fn read(reference: &SecretRef) -> Result<Secret<Vec<u8>>, BadSecret> {
    let (mut bytes, shown) = match reference {
        SecretRef::File(path) => (read_file(path)?, path.display().to_string()),
        SecretRef::Env(name) => {
            let value = std::env::var(name).map_err(|_unset| BadSecret::NoVariable(name.clone()))?;
            (value.into_bytes(), format!("${name}"))
        }
        SecretRef::Credential(name) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(BadSecret::NoCredentials)?;
            let path = Path::new(&directory).join(name);
            (read_file(&path)?, path.display().to_string())
        }
    };
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() { Err(BadSecret::Empty(shown)) } else { Ok(Secret::new(bytes)) }
}

/// Reads the keys of two slots that lie outside the store; `None` for slots that the store holds.
///
/// # Errors
/// [`BadSecret`] when a slot that is there cannot be used, or none is there.
pub fn read_slots(slots: &Slots) -> Result<Option<Vec<SlotKey>>, BadSecret> {
    let keys = match slots {
        Slots::Store => return Ok(None),
        Slots::Directory(directory) => read_directory(directory)?,
        Slots::References { primary, secondary } => {
            let written = [(Slot::Primary, primary), (Slot::Secondary, secondary)];
            let present = written.iter().filter_map(|(slot, reference)| Some((*slot, reference.as_ref()?)));
            present.map(|(slot, reference)| key_of(slot, reference)).collect::<Result<Vec<_>, _>>()?
        }
    };
    match &*keys {
        [one, other] if one.digest == other.digest => Err(BadSecret::SameKeyTwice),
        _ => Ok(Some(keys)),
    }
}

/// Kubernetes swaps the symlink `..data` to change all files of a mount at once. It is resolved once, so that
/// both slots are of one generation.
fn read_directory(directory: &Path) -> Result<Vec<SlotKey>, BadSecret> {
    let generation = std::fs::read_link(directory.join("..data"));
    let from = generation.map_or_else(|_plain_directory| directory.to_owned(), |target| directory.join(target));
    let mut keys = Vec::with_capacity(2);
    for slot in Slot::ALL {
        let reference = SlotRef { key: SecretRef::File(from.join(slot.as_str())), expires: None };
        match key_of(slot, &reference) {
            Ok(key) => keys.push(key),
            Err(BadSecret::Unreadable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if keys.is_empty() { Err(BadSecret::NoSlots(directory.to_owned())) } else { Ok(keys) }
}

/// Reads a key, and keeps its digest only.
///
/// # Errors
/// [`BadSecret`]; a text that cannot be a key is one, called `what` there.
pub fn read_key(reference: &SecretRef, what: &str) -> Result<Digest, BadSecret> {
    let key = read(reference)?;
    let length_fits = (MIN_KEY_CHARACTERS..=MAX_KEY_CHARACTERS).contains(&key.expose().len());
    if !length_fits || !key.expose().iter().all(|byte| byte.is_ascii_graphic() && *byte != b',') {
        return Err(BadSecret::NotAKey(what.to_owned()));
    }
    Ok(Digest::of(key.expose()))
}

fn key_of(slot: Slot, reference: &SlotRef) -> Result<SlotKey, BadSecret> {
    let digest = read_key(&reference.key, &format!("the {slot} slot"))?;
    Ok(SlotKey { slot, digest, expires: reference.expires })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::BadSecret;
    use super::read_slots;
    use crate::config::Slots;
    use crate::model::digest::Digest;
    use crate::model::slot::Slot;

    const ONE: &str = "0123456789abcdef-one";
    const TWO: &str = "0123456789abcdef-two";

    #[test]
    fn a_mounted_directory_is_read_through_one_generation() {
        let mount = tempfile::tempdir().unwrap();
        let generation = mount.path().join("..2026_11_22");
        std::fs::create_dir(&generation).unwrap();
        std::fs::write(generation.join("primary"), format!("{ONE}\n")).unwrap();
        std::fs::write(generation.join("secondary"), TWO).unwrap();
        symlink("..2026_11_22", mount.path().join("..data")).unwrap();
        // The links that a pod sees lead elsewhere: only the generation may be read.
        std::fs::write(mount.path().join("primary"), "0123456789abcdef-stale").unwrap();
        let keys = read_slots(&Slots::Directory(mount.path().to_owned())).unwrap().unwrap();
        let got: Vec<_> = keys.iter().map(|key| (key.slot, key.digest)).collect();
        assert_eq!(got, [(Slot::Primary, Digest::of(ONE.as_bytes())), (Slot::Secondary, Digest::of(TWO.as_bytes()))]);
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused_without_being_shown() {
        let long = "x".repeat(1025);
        for (primary, secondary, want) in [
            (Some(ONE), None, None),
            (None, Some(TWO), None),
            (None, None, Some("holds neither")),
            (Some(""), Some(TWO), Some("is empty")),
            (Some("\n\n"), Some(TWO), Some("is empty")),
            (Some("short-secret"), None, Some("no usable key")),
            (Some("with spaces in it 0123"), None, Some("no usable key")),
            (Some("0123456789abcdef,0123456789"), None, Some("no usable key")),
            (Some(&*long), None, Some("no usable key")),
            (Some(ONE), Some(ONE), Some("the same key")),
        ] {
            let directory = tempfile::tempdir().unwrap();
            for (name, content) in [("primary", primary), ("secondary", secondary)] {
                if let Some(content) = content {
                    std::fs::write(directory.path().join(name), content).unwrap();
                }
            }
            let got = read_slots(&Slots::Directory(directory.path().to_owned()));
            match want {
                None => assert_eq!(got.unwrap().unwrap().len(), 1, "{primary:?} {secondary:?}"),
                Some(want) => {
                    let shown = got.unwrap_err().to_string();
                    assert!(shown.contains(want), "{primary:?} {secondary:?}: {shown}");
                    assert!(!shown.contains("short-secret") && !shown.contains("0123"), "{shown}");
                }
            }
        }
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end_and_a_pipe_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let large = directory.path().join("large");
        std::fs::File::create(&large).unwrap().set_len(1 << 40).unwrap();
        let refused = super::read_file(&large).unwrap_err();
        assert!(matches!(refused, BadSecret::TooLarge(_)), "{refused}");
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&pipe, std::path::Path::new("/dev/zero"), directory.path()] {
            let refused = super::read_file(path).unwrap_err();
            assert!(matches!(refused, BadSecret::NotAFile(_)), "{refused}");
        }
    }
}
