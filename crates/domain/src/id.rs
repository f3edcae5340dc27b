//! Typed ids: a delivery's id cannot be taken for a notification's.
//!
//! Entity ids are `UUIDv7`, so they sort by the moment they were made, and partitions are ranges of
//! them. The moment comes in as an argument; nothing here reads a clock.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{ContextV7, Timestamp, Uuid};

use crate::Channel;

/// Counts within one millisecond, so that ids made in a row sort in that order.
static COUNTER: Mutex<Counter> = Mutex::new(Counter {
    context: ContextV7::new(),
    last: 0,
});

/// Moments that lie further back than this, in seconds, are no longer told apart by order: a clock
/// was set back, or somebody asked what would be at some other time. To go on counting from the
/// later moment would date everything that comes after.
const BACK_MAX: u64 = 10;

struct Counter {
    context: ContextV7,
    /// The latest moment so far, in seconds of Unix time.
    last: u64,
}

/// The tenant of deployments that know only one.
const DEFAULT_TENANT: &str = "default";

fn uuid_at(now: DateTime<Utc>) -> Uuid {
    let seconds = now.timestamp().max(0) as u64;
    let mut counter = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
    if seconds + BACK_MAX < counter.last {
        counter.context = ContextV7::new();
        counter.last = 0;
    }
    counter.last = counter.last.max(seconds);
    Uuid::new_v7(Timestamp::from_unix(
        &counter.context,
        seconds,
        now.timestamp_subsec_nanos(),
    ))
}

fn supposed_uuid_at(moment: DateTime<Utc>) -> Uuid {
    let seconds = moment.timestamp().max(0) as u64;
    let context = ContextV7::new();
    Uuid::new_v7(Timestamp::from_unix(
        &context,
        seconds,
        moment.timestamp_subsec_nanos(),
    ))
}

macro_rules! entity_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes an id that sorts by `now`, and after ids made in this process in the seconds
            /// before.
            pub fn at(now: DateTime<Utc>) -> Self {
                Self(uuid_at(now))
            }

            /// Makes an id for a moment that is only supposed, as a dry run's: beside the order of
            /// all others.
            pub fn supposed_at(moment: DateTime<Utc>) -> Self {
                Self(supposed_uuid_at(moment))
            }

            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

entity_id! {
    /// Identifies an event: the key of its row, not the submitter's `event_id`.
    EventId
}

entity_id! {
    /// Identifies a rule.
    RuleId
}

entity_id! {
    /// Identifies a digest.
    DigestId
}

entity_id! {
    /// Identifies a notification.
    NotificationId
}

entity_id! {
    /// Identifies a delivery; also the idempotency key that providers are given.
    DeliveryId
}

entity_id! {
    /// Identifies a replay of dead letters.
    ReplayId
}

text_id! {
    /// Names the owner of a row.
    TenantId
}

text_id! {
    /// Names a person within a tenant, in the words of the systems that submit.
    UserId
}

impl DeliveryId {
    /// The id of what stands in for a delivery that failed, always the same for one notification,
    /// channel and address: so two that fail at once find the same stand-in.
    ///
    /// It sorts by the moment its notification was made, and lies in that month.
    pub fn of_stand_in(notification_id: NotificationId, channel: Channel, address: u16) -> Self {
        let mut hash = Sha256::new();
        hash.update(notification_id.as_uuid().as_bytes());
        hash.update(channel.as_str());
        hash.update(address.to_be_bytes());
        let hash = hash.finalize();
        let mut bytes = *notification_id.as_uuid().as_bytes();
        // Millisecond, version and variant stay; the rest is the hash's.
        for (place, (byte, hashed)) in bytes.iter_mut().zip(hash).enumerate().skip(6) {
            let kept = match place {
                6 => 0xf0,
                8 => 0xc0,
                _ => 0,
            };
            *byte = (*byte & kept) | (hashed & !kept);
        }
        Self(Uuid::from_bytes(bytes))
    }
}

impl UserId {
    /// Whether it stands for a Slack channel, such as `#ops-critical`, rather than for a person.
    pub fn is_slack_channel(&self) -> bool {
        self.0.starts_with('#')
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self::from(DEFAULT_TENANT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_has_one_id_that_is_a_uuid_of_its_notifications_moment() {
        let now = DateTime::from_timestamp(1_800_000_000, 5_000_000).unwrap();
        let notification_id = NotificationId::at(now);

        let id = DeliveryId::of_stand_in(notification_id, Channel::Push, 0);

        assert_eq!(
            id,
            DeliveryId::of_stand_in(notification_id, Channel::Push, 0)
        );
        for other in [
            DeliveryId::of_stand_in(notification_id, Channel::Push, 1),
            DeliveryId::of_stand_in(notification_id, Channel::Sms, 0),
            DeliveryId::of_stand_in(NotificationId::at(now), Channel::Push, 0),
        ] {
            assert_ne!(id, other);
        }
        assert_eq!(id.as_uuid().get_version_num(), 7);
        assert_eq!(
            id.as_uuid().as_u128() >> 80,
            notification_id.as_uuid().as_u128() >> 80
        );
    }

    #[test]
    fn ids_of_one_moment_sort_in_the_order_they_were_made() {
        let now = DateTime::from_timestamp(1_800_000_000, 5_000_000).unwrap();

        let ids: Vec<_> = (0..1000).map(|_| NotificationId::at(now)).collect();

        assert!(ids.is_sorted());
        assert_eq!(ids[0].as_uuid().get_version_num(), 7);
    }

    #[test]
    fn what_is_asked_about_another_time_dates_nothing_that_comes_after() {
        let now = DateTime::from_timestamp(1_800_000_000, 5_000_000).unwrap();
        let later = DateTime::from_timestamp(4_000_000_000, 0).unwrap();
        let millis_of = |id: NotificationId| (id.as_uuid().as_u128() >> 80) as i64;
        let before = NotificationId::at(now);

        let supposed = NotificationId::supposed_at(later);
        let after = NotificationId::at(now);

        assert_eq!(millis_of(supposed), later.timestamp_millis());
        assert_eq!(millis_of(after), now.timestamp_millis());
        assert!(before < after);

        // As when a clock was wrong for a while.
        let ahead = NotificationId::at(later);
        assert_eq!(millis_of(ahead), later.timestamp_millis());
        assert_eq!(millis_of(NotificationId::at(now)), now.timestamp_millis());
    }

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = DeliveryId::at(DateTime::UNIX_EPOCH);

        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_value(id).unwrap(), id.to_string());
    }

    #[test]
    fn an_id_made_before_1970_is_still_an_id() {
        let id = EventId::at(DateTime::from_timestamp(-5, 0).unwrap());

        assert_eq!(id.as_uuid().get_version_num(), 7);
    }
}
