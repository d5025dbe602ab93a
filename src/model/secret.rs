//! A value that must not be seen: no `Debug`, `Display` or `Serialize` shows it, and it is wiped when dropped.

use std::fmt;

use zeroize::Zeroize;

/// Holds a secret. [`Secret::expose`] is the only way in, and the word that a reviewer looks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Shows the value to the code that has to use it.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Lends the value to be filled or changed in place, where a copy would leave a trace.
    pub const fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", Secret::new("k-1234".to_owned())), "Secret(..)");
    }
}
