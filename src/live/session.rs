//! One socket, from hello to goodbye.

use std::future::pending;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use prometheus::IntGauge;
use store::reading::Ack;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::admission::Admission;
use super::allowance::Allowance;
use super::follow::{Ended, Follower};
use super::frame::{ClientFrame, ServerFrame};
use super::goodbye;
use super::mailbox::{Kind, News};
use crate::app::App;

/// How long a client may take to accept a frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a goodbye may take. Who is slow hears it behind all that was written before.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const CLOSE_SLOW_TIMEOUT: Duration = Duration::from_secs(10);

/// How long marking may take: a connection whose other end has vanished never answers.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(15);

/// Pings that may stay unanswered.
const UNANSWERED_MAX: u32 = 2;

/// Close codes of the contract.
mod code {
    pub(super) const GOING_AWAY: u16 = 1001;
    pub(super) const TOO_BIG: u16 = 1009;
    pub(super) const INTERNAL: u16 = 1011;
    pub(super) const BAD_CREDENTIAL: u16 = 4401;
    pub(super) const TOO_SLOW: u16 = 4408;
    pub(super) const TOO_MANY: u16 = 4429;
}

/// Why a session ended.
#[derive(Debug)]
enum End {
    /// The client said goodbye or is gone.
    Left,
    /// The process stops.
    GoingAway,
    /// We say goodbye, with a code and a reason.
    Closed(u16, &'static str),
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::TooMany(_) => Self::Closed(code::TOO_MANY, "too many sockets"),
            // Those who answer have said why.
            Ended::Unanswered(_) => TRY_AGAIN,
            Ended::Database(error) => {
                let error = queue::describe(&error);
                warn!(error, "a socket's feed could not be read");
                TRY_AGAIN
            }
        }
    }
}

const TOO_SLOW: End = End::Closed(code::TOO_SLOW, "too slow");
const TRY_AGAIN: End = End::Closed(code::INTERNAL, "try again");

/// Serves one socket until it ends.
pub(super) async fn run(
    app: App,
    mut socket: WebSocket,
    admission: Admission,
    last_seq: Option<i64>,
) {
    let _counted = Counted::up(&app.metrics.websocket_connections);
    let ends_in = admission.ends_in;
    let expires_at = ends_in.and_then(|left| Instant::now().checked_add(left));
    let end = match Box::pin(Follower::join(&app, admission.reader, last_seq)).await {
        Err(ended) => End::from(ended),
        Ok((follower, hello)) => {
            let mut session = Session {
                allowance: Allowance::new(app.config.live.frames_per_second, Instant::now()),
                app: &app,
                socket: &mut socket,
                follower,
            };
            match session.say(&hello.frame()).await {
                Ok(()) => session.live(expires_at).await,
                Err(end) => end,
            }
        }
    };
    match end {
        End::Left => debug!("socket left"),
        End::GoingAway => {
            let pause = goodbye::pause(app.hub.crowd_at_closing(), app.chance.next());
            let reason = goodbye::reason(pause).into();
            close(&mut socket, code::GOING_AWAY, reason, CLOSE_TIMEOUT).await;
        }
        End::Closed(code, reason) => {
            app.metrics.websocket_errors.inc();
            let reason = Utf8Bytes::from_static(reason);
            let limit = match code {
                code::TOO_SLOW => CLOSE_SLOW_TIMEOUT,
                _ => CLOSE_TIMEOUT,
            };
            close(&mut socket, code, reason, limit).await;
        }
    }
}

/// Tells a client that shows a bad credential; a browser cannot read the status of an upgrade.
pub(super) async fn turn_away(socket: &mut WebSocket) {
    let reason = Utf8Bytes::from_static("bad credential");
    close(socket, code::BAD_CREDENTIAL, reason, CLOSE_TIMEOUT).await;
}

/// Counts a follower for as long as it is served, however that ends.
pub(super) struct Counted(IntGauge);

impl Counted {
    pub(super) fn up(gauge: &IntGauge) -> Self {
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
async fn close(socket: &mut WebSocket, code: u16, reason: Utf8Bytes, limit: Duration) {
    let goodbye = async {
        // An error means that the client is gone already.
        let frame = CloseFrame { code, reason };
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    if timeout(limit, goodbye).await.is_err() {
        debug!("a client did not answer our goodbye");
    }
}

struct Session<'a> {
    app: &'a App,
    socket: &'a mut WebSocket,
    follower: Follower,
    allowance: Allowance,
}

impl Session<'_> {
    async fn live(&mut self, expires_at: Option<Instant>) -> End {
        let ping_interval = self.app.config.live.ping_interval;
        let mut next_ping = Instant::now() + ping_interval;
        let mut unanswered = 0;
        loop {
            let step = tokio::select! {
                () = self.app.lifetime.closing.cancelled() => Err(End::GoingAway),
                () = until(expires_at) => {
                    Err(End::Closed(code::BAD_CREDENTIAL, "the credential has expired"))
                }
                news = self.follower.next() => match news {
                    Ok(news) => self.pass_on(news).await,
                    Err(ended) => Err(End::from(ended)),
                },
                received = self.socket.recv() => {
                    let now = Instant::now();
                    next_ping = now + ping_interval;
                    unanswered = 0;
                    if self.allowance.spend(now) {
                        self.hear(received).await
                    } else {
                        Err(End::Closed(code::TOO_MANY, "too many frames"))
                    }
                }
                () = sleep_until(next_ping) => {
                    next_ping = Instant::now() + ping_interval;
                    unanswered += 1;
                    if unanswered > UNANSWERED_MAX {
                        Err(End::Left)
                    } else {
                        self.send(Message::Ping(Vec::new().into())).await
                    }
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn pass_on(&mut self, news: News) -> Result<(), End> {
        self.send(Message::Text(news.text)).await?;
        if news.kind == Kind::Row {
            self.app.metrics.websocket_messages_sent.inc();
        }
        Ok(())
    }

    async fn hear(&mut self, received: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        match received {
            Some(Ok(Message::Text(text))) => match ClientFrame::parse(text.as_str()) {
                Ok(ClientFrame::Ping) => self.say(&ServerFrame::Pong).await,
                // Boxed, so that sockets that only listen are small.
                Ok(ClientFrame::Ack(ack)) => Box::pin(self.acknowledge(ack)).await,
                Err(detail) => self.say_bad_frame(&detail).await,
            },
            Some(Ok(Message::Binary(_))) => self.say_bad_frame("frames are JSON text").await,
            // The library answers pings itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Err(error)) if is_too_big(&error) => {
                Err(End::Closed(code::TOO_BIG, "the frame is too big"))
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Left),
        }
    }

    /// Marks as read. The news of it comes the way of all news, to this socket as well.
    async fn acknowledge(&mut self, ack: Ack) -> Result<(), End> {
        let reader = self.follower.reader();
        let now = self.app.clock.now();
        let acknowledging = super::acknowledge_alone(self.app, reader, &ack, now);
        let acked = timeout(ACKNOWLEDGE_MAX, acknowledging).await;
        let acked = match acked {
            Ok(acked) => acked.map_err(|error| End::from(Ended::Database(error)))?,
            Err(elapsed) => {
                warn!(error = %elapsed, "a socket's marks could not be written");
                return Err(TRY_AGAIN);
            }
        };
        super::show_marked(self.app, self.follower.reader(), &acked);
        if acked.changed.is_empty() {
            // Nothing changed for the others; whoever asked still gets an answer.
            let (ids, unread) = (&[][..], acked.unread);
            return self.say(&ServerFrame::Read { ids, unread }).await;
        }
        Ok(())
    }

    async fn say_bad_frame(&mut self, detail: &str) -> Result<(), End> {
        let code = "bad_frame";
        self.say(&ServerFrame::Error { code, detail }).await
    }

    async fn say(&mut self, frame: &ServerFrame<'_>) -> Result<(), End> {
        self.send(Message::Text(frame.to_text())).await
    }

    /// Sends a frame, at most for [`WRITE_TIMEOUT`] and until the follower is found too slow.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        tokio::select! {
            biased;
            sent = timeout(WRITE_TIMEOUT, self.socket.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_gone)) => Err(End::Left),
                Err(_elapsed) => Err(TOO_SLOW),
            },
            () = self.follower.mailbox().overflown() => Err(TOO_SLOW),
        }
    }
}

pub(super) async fn until(moment: Option<Instant>) {
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
