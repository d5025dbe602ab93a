//! The operations that v1 clients poll. Each has succeeded by the time that its name is given out.
//!
//! Nobody remembers them: a name is random and bears the mark of the gateways that share the store, so that each of
//! them, also after a restart, knows the names that any of them gave out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::store::Store;

const PURPOSE: &str = "operation id";
const RANDOM_BYTES: usize = 16;

/// Gives names out, and knows them again.
#[derive(Debug)]
pub(super) struct Operations<'s>(pub(super) &'s Store);

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoRandomness;

impl Operations<'_> {
    /// Names an operation that has succeeded; nobody can guess the name.
    pub(super) fn succeeded(&self) -> Result<Box<str>, NoRandomness> {
        let mut bits = [0; RANDOM_BYTES];
        aws_lc_rs::rand::fill(&mut bits).map_err(|_unspecified| NoRandomness)?;
        let mark = self.0.mark(PURPOSE, &bits);
        Ok(URL_SAFE_NO_PAD.encode([bits.as_slice(), mark.as_ref()].concat()).into())
    }

    /// Whether an operation of this name has succeeded.
    pub(super) fn knows(&self, id: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(id) else { return false };
        let parts = bytes.split_first_chunk::<RANDOM_BYTES>();
        parts.is_some_and(|(bits, mark)| self.0.knows_mark(PURPOSE, bits, mark))
    }
}

#[cfg(test)]
mod tests {
    use super::Operations;
    use crate::store::testing;

    #[tokio::test]
    async fn a_name_is_known_after_a_restart_and_an_invented_one_is_not() {
        let directory = testing::directory();
        let store = testing::open(directory.path()).await;
        let id = Operations(&store).succeeded().unwrap();
        assert!(Operations(&store).knows(&id));
        assert_ne!(Operations(&store).succeeded().unwrap(), id);
        let changed: String = id.chars().rev().collect();
        let unmarked: String = id.chars().take(22).collect();
        for invented in ["", "0", "AAAAAAAAAAAAAAAAAAAAAA", &unmarked, &changed] {
            assert!(!Operations(&store).knows(invented), "{invented}");
        }
        store.close().await;

        let store = testing::open(directory.path()).await;
        assert!(Operations(&store).knows(&id));
        let elsewhere = testing::directory();
        let other = testing::open(elsewhere.path()).await;
        assert!(!Operations(&other).knows(&id), "another store's gateways gave it out");
    }
}
