//! One socket, from hello to goodbye.
//!
//! The order is: take a seat, read where the feed stands, say hello, send what was missed, then
//! live. The session owns its cursor: a row at or below it is skipped, a row that leaves a gap
//! makes it read the feed itself. So no `seq` is repeated or left out, whatever the hub does.

use std::future::pending;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use prometheus::IntGauge;
use store::StoreError;
use store::reading::Ack;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::feed::{ROWS_MAX, to_text};
use super::frame::{ClientFrame, ServerFrame};
use super::hub::{News, Reader, Seat};
use crate::app::App;

/// How long a client may take to accept a frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Close codes of the contract.
pub(super) mod code {
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const TOO_BIG: u16 = 1009;
    pub(crate) const INTERNAL: u16 = 1011;
    pub(crate) const BAD_CREDENTIAL: u16 = 4401;
    pub(crate) const TOO_SLOW: u16 = 4408;
    pub(crate) const TOO_MANY: u16 = 4429;
}

/// Why a session ended.
#[derive(Debug)]
enum End {
    /// The client said goodbye or is gone.
    Left,
    /// We say goodbye, with a code and a reason.
    Closed(u16, &'static str),
    Database(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Database(error)
    }
}

/// What a socket's upgrade decided.
pub(super) struct Admission {
    pub(super) reader: Reader,
    /// The last row the client has seen; `None` begins with what comes next.
    pub(super) last_seq: Option<i64>,
    /// When the credential ends.
    pub(super) expires_in: Option<Duration>,
}

/// Serves one socket until it ends.
pub(super) async fn run(app: App, mut socket: WebSocket, admission: Admission) {
    let Ok(seat) = app.hub.sit_down(admission.reader.clone()) else {
        close(&mut socket, code::TOO_MANY, "too many sockets").await;
        return;
    };
    let _counted = Counted::up(&app.metrics.websocket_connections);
    let expires_at = admission
        .expires_in
        .and_then(|left| Instant::now().checked_add(left));
    let mut session = Session {
        app: &app,
        socket,
        seat,
        reader: admission.reader,
        cursor: 0,
    };
    let end = match session.greet(admission.last_seq).await {
        Ok(()) => session.live(expires_at).await,
        Err(end) => end,
    };
    match end {
        End::Left => debug!("socket left"),
        End::Closed(code, reason) => {
            if code != code::GOING_AWAY {
                app.metrics.websocket_errors.inc();
            }
            close(&mut session.socket, code, reason).await;
        }
        End::Database(error) => {
            app.metrics.websocket_errors.inc();
            warn!(
                error = queue::describe(&error),
                "a socket's feed could not be read"
            );
            close(&mut session.socket, code::INTERNAL, "try again").await;
        }
    }
}

/// Counts a socket for as long as it is served, however that ends.
struct Counted(IntGauge);

impl Counted {
    fn up(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Says goodbye, if the client still listens.
pub(super) async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame {
        code,
        reason: Utf8Bytes::from_static(reason),
    };
    let goodbye = async {
        // An error means that the client is gone already.
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    if timeout(CLOSE_TIMEOUT, goodbye).await.is_err() {
        debug!("a client did not answer our goodbye");
    }
}

struct Session<'a> {
    app: &'a App,
    socket: WebSocket,
    seat: Seat,
    reader: Reader,
    /// The last row sent.
    cursor: i64,
}

impl Session<'_> {
    /// Says hello and sends what came after `last_seq`.
    async fn greet(&mut self, last_seq: Option<i64>) -> Result<(), End> {
        let mut conn = self.app.store.acquire().await?;
        let head =
            store::inbox::head(&mut conn, &self.reader.tenant_id, &self.reader.user_id).await?;
        drop(conn);
        self.app.hub.begin_at(&self.reader, head.seq);
        self.cursor = last_seq.unwrap_or(head.seq);
        self.say(&ServerFrame::Hello {
            seq: head.seq,
            unread: head.unread,
        })
        .await?;
        if self.cursor > head.seq {
            // A number we never gave out: the client knows another database than this one.
            return self.resync(head.seq).await;
        }
        if self.cursor < head.seq {
            self.catch_up().await?;
        }
        if self.cursor < head.seq {
            // Not even the last of them is there any more.
            return self.resync(head.seq).await;
        }
        Ok(())
    }

    /// Sends every row after the cursor.
    async fn catch_up(&mut self) -> Result<(), End> {
        loop {
            let mut conn = self.app.store.acquire().await?;
            let Reader { tenant_id, user_id } = &self.reader;
            let rows =
                store::inbox::feed_after(&mut conn, tenant_id, user_id, self.cursor, ROWS_MAX)
                    .await?;
            drop(conn);
            for row in &rows {
                if row.seq != self.cursor + 1 {
                    // What lies between has been removed.
                    self.resync(row.seq - 1).await?;
                }
                self.send_row(row.seq, to_text(row)).await?;
            }
            if (rows.len() as i64) < ROWS_MAX {
                return Ok(());
            }
        }
    }

    /// Tells the client to fetch the list and go on from `seq`.
    async fn resync(&mut self, seq: i64) -> Result<(), End> {
        self.cursor = seq;
        self.say(&ServerFrame::Resync { seq }).await
    }

    async fn live(&mut self, expires_at: Option<Instant>) -> End {
        let ping_interval = self.app.config.live.ping_interval;
        let mut next_ping = Instant::now() + ping_interval;
        let mut unanswered = 0;
        loop {
            let step = tokio::select! {
                biased;
                () = self.app.lifetime.closing.cancelled() => {
                    Err(End::Closed(code::GOING_AWAY, "going away"))
                }
                () = self.seat.slow.cancelled() => Err(End::Closed(code::TOO_SLOW, "too slow")),
                () = until(expires_at) => {
                    Err(End::Closed(code::BAD_CREDENTIAL, "the token has expired"))
                }
                news = self.seat.news.recv() => match news {
                    Some(news) => self.pass_on(news).await,
                    None => Err(End::Closed(code::INTERNAL, "try again")),
                },
                received = self.socket.recv() => {
                    next_ping = Instant::now() + ping_interval;
                    unanswered = 0;
                    self.hear(received).await
                }
                () = sleep_until(next_ping) => {
                    next_ping = Instant::now() + ping_interval;
                    unanswered += 1;
                    match unanswered {
                        1 | 2 => self.send(Message::Ping(Vec::new().into())).await,
                        _ => Err(End::Left),
                    }
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn pass_on(&mut self, news: News) -> Result<(), End> {
        match news {
            News::Arrived { seq, .. } if seq <= self.cursor => Ok(()),
            News::Arrived { seq, text } if seq == self.cursor + 1 => self.send_row(seq, text).await,
            News::Arrived { .. } => self.catch_up().await,
            News::Read { ids, unread } => self.say(&ServerFrame::Read { ids: &ids, unread }).await,
        }
    }

    async fn hear(&mut self, received: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        match received {
            Some(Ok(Message::Text(text))) => match ClientFrame::parse(text.as_str()) {
                Ok(ClientFrame::Ping) => self.say(&ServerFrame::Pong).await,
                Ok(ClientFrame::Ack(ack)) => self.acknowledge(ack).await,
                Err(detail) => {
                    self.say(&ServerFrame::Error {
                        code: "bad_frame",
                        detail: &detail,
                    })
                    .await
                }
            },
            Some(Ok(Message::Binary(_))) => {
                let detail = "frames are JSON text";
                self.say(&ServerFrame::Error {
                    code: "bad_frame",
                    detail,
                })
                .await
            }
            // The library answers pings itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Err(error)) if is_too_big(&error) => {
                Err(End::Closed(code::TOO_BIG, "the frame is too big"))
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Left),
        }
    }

    /// Marks as read, and tells all of the user's sockets here.
    async fn acknowledge(&mut self, ack: Ack) -> Result<(), End> {
        let mut tx = self.app.store.begin().await?;
        let acked = super::acknowledge(&mut tx, &self.reader, &ack, self.app.clock.now()).await?;
        tx.commit().await?;
        super::show_read(self.app, &self.reader, &acked);
        if acked.changed.is_empty() {
            // Nothing changed for the others; whoever asked still gets an answer.
            return self
                .say(&ServerFrame::Read {
                    ids: &[],
                    unread: acked.unread,
                })
                .await;
        }
        Ok(())
    }

    async fn send_row(&mut self, seq: i64, text: Utf8Bytes) -> Result<(), End> {
        self.send(Message::Text(text)).await?;
        self.cursor = seq;
        self.app.metrics.websocket_messages_sent.inc();
        Ok(())
    }

    async fn say(&mut self, frame: &ServerFrame<'_>) -> Result<(), End> {
        self.send(Message::Text(frame.to_text())).await
    }

    /// Sends a frame, at most for [`WRITE_TIMEOUT`] and until the hub finds the client too slow.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        tokio::select! {
            biased;
            sent = timeout(WRITE_TIMEOUT, self.socket.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_gone)) => Err(End::Left),
                Err(_elapsed) => Err(End::Closed(code::TOO_SLOW, "too slow")),
            },
            () = self.seat.slow.cancelled() => Err(End::Closed(code::TOO_SLOW, "too slow")),
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// Whether a frame was over its limit. The library's error type is not ours to name; its text for
/// a message over the limit is.
fn is_too_big(error: &axum::Error) -> bool {
    error.to_string().contains("too long")
}
