//! Who sends: batches over HTTP, each tried again with the same ids until it is accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::eventually;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::fleet::API_KEY;

/// Events of one request.
pub(crate) const BATCH: usize = 200;

/// Requests on their way at once.
const SENDERS: usize = 4;

/// Every so many batches one is sent again although it was accepted.
const REPEATED_EVERY: usize = 7;

/// Pause before a batch is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How long one batch may take to be accepted, over all tries.
const BATCH_MAX: Duration = Duration::from_mins(1);

/// Longer than the intake tries, so that its own answer arrives.
const REQUEST_MAX: Duration = Duration::from_secs(15);

/// A stream of events, `e-0` to `e-<events>`, to `users` users in turn.
pub(crate) struct Load {
    pub(crate) events: usize,
    pub(crate) users: usize,
    /// From the start of one batch to that of the next.
    pub(crate) pace: Duration,
}

/// A stream that is being sent.
pub(crate) struct Sending {
    senders: Vec<JoinHandle<()>>,
    course: Arc<Course>,
}

struct Course {
    url: String,
    client: reqwest::Client,
    started: Instant,
    load: Load,
    next: AtomicUsize,
    accepted: AtomicUsize,
    retries: AtomicU32,
    /// Senders that found no batch left, while others may still be at theirs.
    done: AtomicUsize,
}

impl Load {
    /// How many events the user of index `user` gets.
    pub(crate) fn events_of(&self, user: usize) -> usize {
        (user..self.events).step_by(self.users).count()
    }

    /// Starts to send to the API at `address`.
    pub(crate) fn start(self, address: SocketAddr) -> Sending {
        assert!(self.events.is_multiple_of(BATCH));
        let client = reqwest::Client::builder().timeout(REQUEST_MAX).build();
        let course = Arc::new(Course {
            url: format!("http://{address}/v1/events/batch"),
            client: client.unwrap(),
            started: Instant::now(),
            load: self,
            next: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            retries: AtomicU32::new(0),
            done: AtomicUsize::new(0),
        });
        let senders = (0..SENDERS)
            .map(|_| tokio::spawn(Arc::clone(&course).send()))
            .collect();
        Sending { senders, course }
    }
}

impl Sending {
    pub(crate) fn load(&self) -> &Load {
        &self.course.load
    }

    /// Events accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.course.accepted.load(Ordering::Acquire)
    }

    /// Tries that were not answered, or not with 202.
    pub(crate) fn retries(&self) -> u32 {
        self.course.retries.load(Ordering::Acquire)
    }

    /// Waits until `events` are accepted.
    pub(crate) async fn reaches(&self, events: usize) {
        eventually(BATCH_MAX, async || {
            let ended = self.senders.iter().filter(|sender| sender.is_finished());
            // Counted before the others are looked at: one that is done ends a moment later.
            let ended = ended.count();
            let done = self.course.done.load(Ordering::Acquire);
            assert!(ended <= done, "a sender has given up");
            self.accepted() >= events
        })
        .await;
    }

    /// Waits until all events are accepted.
    pub(crate) async fn finish(&mut self) {
        for sender in self.senders.drain(..) {
            sender.await.unwrap();
        }
        assert_eq!(self.accepted(), self.load().events);
    }
}

impl Course {
    async fn send(self: Arc<Self>) {
        loop {
            let index = self.next.fetch_add(1, Ordering::AcqRel);
            if index * BATCH >= self.load.events {
                self.done.fetch_add(1, Ordering::AcqRel);
                return;
            }
            let due = self.started + self.load.pace * u32::try_from(index).unwrap();
            sleep_until(due).await;
            self.send_until_accepted(index).await;
            self.accepted.fetch_add(BATCH, Ordering::AcqRel);
            if index.is_multiple_of(REPEATED_EVERY) {
                let duplicates = self.send_until_accepted(index).await;
                assert_eq!(
                    duplicates, BATCH,
                    "what was accepted once is a duplicate for ever"
                );
            }
        }
    }

    /// Sends one batch until it is accepted, and answers how many of it were there before.
    async fn send_until_accepted(&self, index: usize) -> usize {
        let body = json!({"events": self.batch(index)});
        let deadline = Instant::now() + BATCH_MAX;
        loop {
            if let Some(duplicates) = self.try_once(&body).await {
                return duplicates;
            }
            assert!(Instant::now() < deadline, "batch {index} is not accepted");
            self.retries.fetch_add(1, Ordering::AcqRel);
            sleep(RETRY_PAUSE).await;
        }
    }

    /// `None` if the batch may or may not have landed, or certainly has not.
    async fn try_once(&self, body: &Value) -> Option<usize> {
        let request = self.client.post(&self.url).bearer_auth(API_KEY).json(body);
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        assert!(matches!(status, 202 | 503), "answered with {status}");
        let answer: Value = answer.json().await.ok()?;
        if status != 202 {
            return None;
        }
        assert_eq!(answer["errors"], json!([]));
        let count = |name: &str| answer[name].as_u64().unwrap() as usize;
        assert_eq!(count("accepted") + count("duplicates"), BATCH);
        Some(count("duplicates"))
    }

    fn batch(&self, index: usize) -> Vec<Value> {
        (index * BATCH..(index + 1) * BATCH)
            .map(|n| {
                json!({
                    "type": "order.filled",
                    "event_id": format!("e-{n}"),
                    "payload": {"user_id": format!("u-{}", n % self.load.users), "order_id": n},
                })
            })
            .collect()
    }
}
