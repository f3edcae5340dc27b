//! What everybody who comes to the feed asks of the database, asked for all of them together: where
//! their feed stands, what they missed, and whether their ticket is good.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{TenantId, UserId};
use queue::Clock;
use store::following::Standing;
use store::inbox::{FeedItem, FeedPosition};
use store::tickets::{NewTicket, Redeemed};
use store::{Store, StoreError};

use super::gather::{Gatherer, Unanswered};
use super::hub::{Reader, Told};
use crate::shutdown::Lifetime;

/// Rows of one feed that come with the greeting; whoever missed more reads on alone.
pub(super) const MISSED_MAX: usize = 20;

/// Who comes, and from where they go on.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) reader: Arc<Reader>,
    /// The last row they have seen; `None` begins with what comes next.
    pub(super) last_seq: Option<i64>,
}

/// Where a feed stands, and the first rows that were missed of it.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    pub(super) seq: i64,
    pub(super) unread: i64,
    pub(super) marks: i64,
    /// `None` if they were not read.
    pub(super) missed: Option<Vec<FeedItem>>,
}

impl Greeting {
    pub(super) fn told(&self) -> Told {
        Told {
            seq: self.seq,
            marks: self.marks,
        }
    }
}

/// Where the followers of this process ask. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    greetings: Gatherer<Arrival, Greeting>,
    issues: Gatherer<NewTicket, ()>,
    redeemings: Gatherer<[u8; 32], Option<Redeemed>>,
}

impl Desk {
    /// Opens it; it closes with `lifetime.closing`.
    pub(crate) fn open(store: &Store, clock: &Clock, lifetime: &Lifetime) -> Self {
        let greeting = store.clone();
        let issuing = store.clone();
        let (redeeming, clock) = (store.clone(), clock.clone());
        Self {
            greetings: Gatherer::start(lifetime, "greeting", move |arrivals| {
                greet(greeting.clone(), arrivals)
            }),
            issues: Gatherer::start(lifetime, "issuing tickets", move |tickets| {
                issue(issuing.clone(), tickets)
            }),
            redeemings: Gatherer::start(lifetime, "redeeming tickets", move |hashes| {
                redeem(redeeming.clone(), clock.clone(), hashes)
            }),
        }
    }

    /// Where the feed stands. Take a seat first, so that nothing falls between.
    pub(super) async fn greet(&self, arrival: Arrival) -> Result<Greeting, Unanswered> {
        self.greetings.ask(arrival).await
    }

    /// Stores a ticket.
    pub(super) async fn issue(&self, ticket: NewTicket) -> Result<(), Unanswered> {
        self.issues.ask(ticket).await
    }

    /// Takes a ticket, if it is good: nobody else is admitted by it.
    pub(super) async fn redeem(&self, hash: [u8; 32]) -> Result<Option<Redeemed>, Unanswered> {
        self.redeemings.ask(hash).await
    }
}

async fn greet(store: Store, arrivals: Arc<[Arrival]>) -> Result<Vec<Greeting>, StoreError> {
    let feeds: Vec<(TenantId, UserId)> = arrivals
        .iter()
        .map(|arrival| {
            let Reader { tenant_id, user_id } = arrival.reader.as_ref();
            (tenant_id.clone(), user_id.clone())
        })
        .collect();
    let mut conn = store.acquire().await?;
    let standings: HashMap<Reader, Standing> = store::following::standings(&mut conn, &feeds)
        .await?
        .into_iter()
        .map(|standing| (reader_of(&standing.tenant_id, &standing.user_id), standing))
        .collect();

    // Rows do not say for which position they are, so of several tabs of one user the first is
    // served, and the others read for themselves.
    let mut positions: HashMap<&Reader, FeedPosition> = HashMap::new();
    for arrival in arrivals.iter() {
        let reader = arrival.reader.as_ref();
        let end = standings.get(reader).map_or(0, |standing| standing.seq);
        if let Some(after_seq) = arrival.last_seq.filter(|last| *last < end) {
            positions.entry(reader).or_insert_with(|| FeedPosition {
                tenant_id: reader.tenant_id.clone(),
                user_id: reader.user_id.clone(),
                after_seq,
            });
        }
    }
    let asked: Vec<FeedPosition> = positions.values().cloned().collect();
    let mut missed: HashMap<Reader, Vec<FeedItem>> = HashMap::new();
    if !asked.is_empty() {
        let limit = MISSED_MAX as i64;
        for row in store::inbox::feed_after_many(&mut conn, &asked, limit).await? {
            let reader = reader_of(&row.tenant_id, &row.user_id);
            missed.entry(reader).or_default().push(row);
        }
    }
    drop(conn);
    let greetings = arrivals.iter().map(|arrival| {
        let reader = arrival.reader.as_ref();
        let Some(standing) = standings.get(reader) else {
            return Greeting::default();
        };
        let position = positions.get(reader);
        let is_its_own = position.is_some_and(|it| Some(it.after_seq) == arrival.last_seq);
        Greeting {
            seq: standing.seq,
            unread: standing.unread,
            marks: standing.marks,
            missed: is_its_own.then(|| missed.get(reader).cloned().unwrap_or_default()),
        }
    });
    Ok(greetings.collect())
}

async fn issue(store: Store, tickets: Arc<[NewTicket]>) -> Result<Vec<()>, StoreError> {
    let mut tx = store.begin().await?;
    store::tickets::issue(&mut tx, &tickets).await?;
    tx.commit().await?;
    Ok(vec![(); tickets.len()])
}

async fn redeem(
    store: Store,
    clock: Clock,
    hashes: Arc<[[u8; 32]]>,
) -> Result<Vec<Option<Redeemed>>, StoreError> {
    let mut tx = store.begin().await?;
    let redeemed = store::tickets::redeem(&mut tx, &hashes, clock.now()).await?;
    tx.commit().await?;
    let mut by_hash: HashMap<[u8; 32], Redeemed> = redeemed
        .into_iter()
        .map(|redeemed| (redeemed.hash, redeemed))
        .collect();
    // Taken out, so that of two who come with the same ticket at once one is admitted.
    Ok(hashes.iter().map(|hash| by_hash.remove(hash)).collect())
}

fn reader_of(tenant_id: &TenantId, user_id: &UserId) -> Reader {
    Reader {
        tenant_id: tenant_id.clone(),
        user_id: user_id.clone(),
    }
}
