//! The two slots in which a service or an account holds its keys.

use std::fmt;

/// One of the two slots. Both are live at once, so that one can be regenerated while the other serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first key.
    Primary,
    /// The second key.
    Secondary,
}

impl Slot {
    /// Both slots, primary first.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Secondary];

    /// `primary` or `secondary`: the file name in a mounted directory, the label value, the word in a log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }

    /// The other slot.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
