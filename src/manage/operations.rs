//! The operations that v1 clients poll. Each has succeeded by the time that its name is given out.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Most names that are remembered; who polls has the name for seconds.
const MOST: usize = 4096;

/// Names of operations that have succeeded, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Operations(VecDeque<Box<str>>);

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoRandomness;

impl Operations {
    /// Remembers an operation that has succeeded, under a name that nobody can guess.
    pub(super) fn succeeded(&mut self) -> Result<Box<str>, NoRandomness> {
        let mut bits = [0; 16];
        aws_lc_rs::rand::fill(&mut bits).map_err(|_unspecified| NoRandomness)?;
        let id: Box<str> = URL_SAFE_NO_PAD.encode(bits).into();
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(id.clone());
        Ok(id)
    }

    /// Whether an operation of this name has succeeded.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|known| **known == *id)
    }
}

#[cfg(test)]
mod tests {
    use super::MOST;
    use super::Operations;

    #[test]
    fn only_the_latest_names_are_kept() {
        let mut operations = Operations::default();
        let first = operations.succeeded().unwrap();
        for _ in 1..MOST {
            operations.succeeded().unwrap();
        }
        assert!(operations.knows(&first));
        let last = operations.succeeded().unwrap();
        assert!(!operations.knows(&first) && operations.knows(&last) && operations.0.len() == MOST);
    }
}
