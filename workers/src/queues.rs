//! The names of the queues. A channel's queue carries the channel's name.

use domain::Channel;

pub const ROUTE: &str = "route";
pub const RENDER: &str = "render";
pub const RETRY: &str = "retry";
pub const QUIET_HOURS: &str = "quiet_hours";
pub const BATCH_FLUSH: &str = "batch_flush";

/// The queue of `deliver` jobs of one channel.
pub const fn of(channel: Channel) -> &'static str {
    channel.as_str()
}

/// Every queue there is.
pub fn all() -> impl Iterator<Item = &'static str> {
    [ROUTE, RENDER, RETRY, QUIET_HOURS, BATCH_FLUSH]
        .into_iter()
        .chain(Channel::ALL.into_iter().map(of))
}
