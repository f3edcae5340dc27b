//! What a credential may do.

use std::fmt;

/// A right of an API key or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Submit events and notifications.
    Send,
    /// Look at what became of them.
    Read,
    /// Everything.
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Send, Self::Read, Self::Admin];

    /// The word stored in rows and shown outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// Reads a role as stored or as given on a command line.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether who has this role may do what `needed` allows.
    pub fn includes(self, needed: Self) -> bool {
        self == Self::Admin || self == needed
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_may_do_everything_and_others_their_own() {
        assert!(
            Role::ALL
                .into_iter()
                .all(|needed| Role::Admin.includes(needed))
        );
        assert!(!Role::Send.includes(Role::Read));
        assert!(
            Role::ALL
                .into_iter()
                .all(|role| Role::parse(role.as_str()) == Some(role))
        );
    }
}
