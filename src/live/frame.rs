//! The wire protocol of the live feed: one JSON object per text frame.
//!
//! A notification is written as text once and shared by all sockets it goes to.

use axum::extract::ws::Utf8Bytes;
use domain::NotificationId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::reading::Ack;

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ServerFrame<'a> {
    /// Always the first frame: where the feed stands.
    Hello {
        seq: i64,
        unread: i64,
    },
    Notification(NotificationFrame<'a>),
    /// These have been read, here or elsewhere.
    Read {
        ids: &'a [NotificationId],
        unread: i64,
    },
    /// What lies between is gone: fetch the list, go on from here.
    Resync {
        seq: i64,
    },
    Pong,
    Error {
        code: &'a str,
        detail: &'a str,
    },
}

/// One notification of the feed.
#[derive(Debug, Serialize)]
pub(crate) struct NotificationFrame<'a> {
    pub(crate) seq: i64,
    pub(crate) id: NotificationId,
    pub(crate) title: Option<&'a str>,
    pub(crate) message: &'a str,
    pub(crate) data: Option<&'a Value>,
    pub(crate) priority: &'a str,
    pub(crate) category: Option<&'a str>,
    pub(crate) template: Option<&'a str>,
    pub(crate) created_at: String,
}

impl ServerFrame<'_> {
    /// The frame's text.
    pub(crate) fn to_text(&self) -> Utf8Bytes {
        // Every map in it has text keys and every number is finite: it came out of JSON.
        serde_json::to_string(self)
            .expect("a frame is always JSON")
            .into()
    }
}

/// What a client says.
#[derive(Debug, PartialEq)]
pub(crate) enum ClientFrame {
    Ack(Ack),
    Ping,
}

/// A client frame as it comes in; every frame may carry only the fields it has.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum RawFrame {
    Ack {
        #[serde(default)]
        id: Option<NotificationId>,
        #[serde(default)]
        up_to_seq: Option<i64>,
    },
    Ping {},
}

impl ClientFrame {
    /// Reads a frame; the error says what was wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text).map_err(|error| error.to_string())? {
            RawFrame::Ping {} => Ok(Self::Ping),
            RawFrame::Ack {
                id: Some(id),
                up_to_seq: None,
            } => Ok(Self::Ack(Ack::Notifications(vec![id]))),
            RawFrame::Ack {
                id: None,
                up_to_seq: Some(seq),
            } => Ok(Self::Ack(Ack::UpTo(seq))),
            RawFrame::Ack { .. } => Err("an ack has either id or up_to_seq".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_look_as_the_contract_says() {
        let hello = ServerFrame::Hello { seq: 41, unread: 3 };
        assert_eq!(
            hello.to_text().as_str(),
            r#"{"type":"hello","seq":41,"unread":3}"#
        );
        assert_eq!(ServerFrame::Pong.to_text().as_str(), r#"{"type":"pong"}"#);
        let resync = ServerFrame::Resync { seq: 90 };
        assert_eq!(resync.to_text().as_str(), r#"{"type":"resync","seq":90}"#);
    }

    #[test]
    fn an_ack_names_one_id_or_a_seq() {
        let id = NotificationId::from(uuid::Uuid::from_u128(7));
        let text = format!(r#"{{"type":"ack","id":"{id}"}}"#);
        assert_eq!(
            ClientFrame::parse(&text),
            Ok(ClientFrame::Ack(Ack::Notifications(vec![id])))
        );
        let text = r#"{"type":"ack","up_to_seq":42}"#;
        assert_eq!(
            ClientFrame::parse(text),
            Ok(ClientFrame::Ack(Ack::UpTo(42)))
        );
        assert_eq!(
            ClientFrame::parse(r#"{"type":"ping"}"#),
            Ok(ClientFrame::Ping)
        );
    }

    #[test]
    fn a_frame_that_is_not_understood_says_why() {
        for (text, reason) in [
            ("", "EOF"),
            ("[]", "missing field `type`"),
            (r#"{"type":"ack"}"#, "either id or up_to_seq"),
            (r#"{"type":"ack","id":"x"}"#, "UUID"),
            (r#"{"type":"subscribe"}"#, "unknown variant"),
            (r#"{"type":"ping","extra":1}"#, "unknown field"),
        ] {
            let error = ClientFrame::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
