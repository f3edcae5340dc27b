//! Feeds: how a wake-up names the feed of one user without naming the user.

use crate::{TenantId, UserId};

/// What a wake-up says of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedNews {
    /// Something arrived.
    Arrival,
    /// Its user marked something.
    Mark,
}

impl FeedNews {
    /// The wake-up about the feed of that hash: its eight hex digits, with an `m` before them for a
    /// mark.
    ///
    /// It goes through NOTIFY and NATS, whose payloads are small and readable by others.
    pub fn token(self, hash: u32) -> String {
        match self {
            Self::Arrival => format!("{hash:08x}"),
            Self::Mark => format!("m{hash:08x}"),
        }
    }

    /// Reads a wake-up.
    pub fn parse(token: &str) -> Option<(Self, u32)> {
        let (news, digits) = match token.strip_prefix('m') {
            Some(digits) => (Self::Mark, digits),
            None => (Self::Arrival, token),
        };
        Some((news, u32::from_str_radix(digits, 16).ok()?))
    }
}

/// A short name for a user's feed: 32 bits of FNV-1a.
///
/// Two users may share it; the one wakes up for nothing then.
pub fn feed_hash(tenant_id: &TenantId, user_id: &UserId) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for part in [tenant_id.as_str(), user_id.as_str()] {
        for byte in part.bytes().chain([0xff]) {
            hash ^= u32::from(byte);
            hash = hash.wrapping_mul(0x0100_0193);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_both_names() {
        let hash =
            |tenant: &str, user: &str| feed_hash(&TenantId::from(tenant), &UserId::from(user));

        assert_eq!(hash("default", "user123"), hash("default", "user123"));
        assert_ne!(hash("a", "bc"), hash("ab", "c"));
    }

    #[test]
    fn a_wake_up_is_read_as_it_was_written() {
        for hash in [0, 7, 0xdead_beef, u32::MAX] {
            for news in [FeedNews::Arrival, FeedNews::Mark] {
                assert_eq!(FeedNews::parse(&news.token(hash)), Some((news, hash)));
            }
        }
        assert_eq!(FeedNews::parse("*"), None);
        assert_eq!(FeedNews::parse("mm1"), None);
    }
}
