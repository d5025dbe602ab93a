//! The one management key of a gateway that is given none: made on first start, for whoever may read its state.

use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::Config;
use crate::config::ManagementKey;
use crate::config::Role;
use crate::config::SecretRef;
use crate::model::name::Name;
use crate::model::secret::Secret;

/// Its file, in the store's directory.
pub const FILE: &str = "management.key";

/// Random bytes in it.
const KEY_BYTES: usize = 32;

/// The key of a gateway that has a management listener and is given no key, and the path of its file.
#[must_use]
pub fn own(config: &Config) -> Option<(ManagementKey, PathBuf)> {
    if !config.management_keys.is_empty() || config.listeners.management.is_none() {
        return None;
    }
    let path = config.store.directory.join(FILE);
    let name = Name::parse("own").ok()?;
    Some((ManagementKey { name, key: SecretRef::File(path.clone()), role: Role::Owner }, path))
}

/// Makes the file where it is wanted and missing. Whole from the moment that it exists, and never replaced.
///
/// # Errors
/// The path, and what the system said.
pub fn ensure(config: &Config) -> Result<(), (PathBuf, std::io::Error)> {
    let Some((_, path)) = own(config).filter(|(_, path)| !path.exists()) else { return Ok(()) };
    match make(&path) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "no management key is configured; one with the role owner was made");
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err((path, error)),
    }
}

fn make(path: &Path) -> std::io::Result<()> {
    let mut bytes = Secret::new([0; KEY_BYTES]);
    aws_lc_rs::rand::fill(bytes.expose_mut()).map_err(|_unspecified| std::io::Error::other("no random bytes"))?;
    let mut text = Secret::new(URL_SAFE_NO_PAD.encode(bytes.expose()));
    text.expose_mut().push('\n');
    if let Some(directory) = path.parent() {
        // A store on etcd has not made it.
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let draft = path.with_extension("key.new");
    // A draft that a crash left behind was never used.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.expose().as_bytes())?;
    file.sync_all()?;
    // Unlike a rename, a link never replaces a key that another process made meanwhile.
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    linked
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::ensure;
    use super::own;
    use crate::config::Config;

    fn config(directory: &std::path::Path, more: &str) -> Config {
        let directory = directory.display();
        Config::read(&format!(
            "listeners: {{traffic: [{{address: '127.0.0.1:0'}}], management: {{address: '127.0.0.1:0'}}, \
             health: {{address: '127.0.0.1:0'}}}}\nstore: {{directory: '{directory}'}}\nupstreams: {{}}\nservices: {{}}\n{more}"
        ))
        .unwrap()
    }

    #[test]
    fn a_gateway_without_a_management_key_makes_one_that_nobody_else_reads_and_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), "");
        ensure(&config).unwrap();
        let (_, path) = own(&config).unwrap();
        let made = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(made.trim_end().len(), 43, "32 bytes in base64");
        ensure(&config).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), made);
    }

    #[test]
    fn a_gateway_that_is_given_a_management_key_makes_none() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), "management_keys: {ops: {key: 'env:OPS', role: owner}}\n");
        ensure(&config).unwrap();
        assert!(own(&config).is_none());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
