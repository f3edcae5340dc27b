//! Feeds: how a wake-up names the feed of one user without naming the user.

use crate::{TenantId, UserId};

/// A short name for a user's feed: eight hex digits of FNV-1a.
///
/// It goes through NOTIFY, whose payload is small and readable by every session. Two users may
/// share a token; the one wakes up for nothing then.
pub fn feed_token(tenant_id: &TenantId, user_id: &UserId) -> String {
    let mut hash: u32 = 0x811c_9dc5;
    for part in [tenant_id.as_str(), user_id.as_str()] {
        for byte in part.bytes().chain([0xff]) {
            hash ^= u32::from(byte);
            hash = hash.wrapping_mul(0x0100_0193);
        }
    }
    format!("{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_eight_hex_digits_and_depends_on_both_names() {
        let token =
            |tenant: &str, user: &str| feed_token(&TenantId::from(tenant), &UserId::from(user));

        assert_eq!(token("default", "user123").len(), 8);
        assert_ne!(token("a", "bc"), token("ab", "c"));
    }
}
