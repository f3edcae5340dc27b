//! What only an email has: copies, a reply address and attachments.
//!
//! A direct send names them in its `data`. They are checked when they come in, so that whoever
//! sends one learns of a bad address before anything is stored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{FieldError, address};

/// Addresses in `cc` and `bcc` together. A longer list is a topic, not a copy.
const COPIES_MAX: usize = 50;

/// Attachments of one message.
const ATTACHMENTS_MAX: usize = 20;

/// Characters in the name of an attached file: what file systems take.
const FILENAME_CHARS_MAX: usize = 255;

/// Characters in a content type, as RFC 6838 bounds its two halves.
const CONTENT_TYPE_CHARS_MAX: usize = 255;

/// What an attachment is when nobody says.
const CONTENT_TYPE_FALLBACK: &str = "application/octet-stream";

/// The parts of an email beside its words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailParts {
    /// Where answers go, if not to the sender.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<String>,
    /// Who else is shown to have received it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cc: Vec<String>,
    /// Who else receives it, without anybody being shown.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub bcc: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub attachments: Vec<Attachment>,
}

/// A file that goes with an email.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Without a path.
    pub filename: String,
    /// `type/subtype`, with parameters if any.
    pub content_type: String,
    /// Base64, padded, without line breaks.
    pub content: String,
}

impl MailParts {
    /// Reads the keys `reply_to`, `cc`, `bcc` and `attachments` of a direct send's `data`.
    ///
    /// `None` if it has none of them. Other keys are the template's business. Pointers in the
    /// errors begin at the body, so at `/data`.
    pub fn from_data(data: &Value) -> Result<Option<Self>, Vec<FieldError>> {
        let mut errors = Vec::new();
        let reply_to = addresses(data, "reply_to", &mut errors);
        if reply_to.len() > 1 {
            errors.push(FieldError::new("/data/reply_to", "must be one address"));
        }
        let parts = Self {
            reply_to: reply_to.into_iter().next(),
            cc: addresses(data, "cc", &mut errors),
            bcc: addresses(data, "bcc", &mut errors),
            attachments: attachments(data, &mut errors),
        };
        if parts.cc.len() + parts.bcc.len() > COPIES_MAX {
            let detail = format!("cc and bcc must have at most {COPIES_MAX} addresses together");
            errors.push(FieldError::new("/data/cc", detail));
        }
        match (errors.is_empty(), parts == Self::default()) {
            (false, _) => Err(errors),
            (true, true) => Ok(None),
            (true, false) => Ok(Some(parts)),
        }
    }
}

/// A string or a list of strings, each a mail address.
fn addresses(data: &Value, key: &str, errors: &mut Vec<FieldError>) -> Vec<String> {
    let pointer = format!("/data/{key}");
    let items = match data.get(key) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) => items.as_slice(),
        Some(item) => std::slice::from_ref(item),
    };
    // Not one error for each of a million.
    if items.len() > COPIES_MAX {
        let detail = format!("must have at most {COPIES_MAX} addresses");
        errors.push(FieldError::new(pointer, detail));
        return Vec::new();
    }
    let is_list = data.get(key).is_some_and(Value::is_array);
    let mut found = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = if is_list {
            format!("{pointer}/{index}")
        } else {
            pointer.clone()
        };
        match item
            .as_str()
            .map(|text| (text, address::check("email", text)))
        {
            Some((text, Ok(()))) => found.push(text.to_owned()),
            Some((_, Err(detail))) => errors.push(FieldError::new(place, detail)),
            None => errors.push(FieldError::new(
                place,
                "must be a mail address or a list of them",
            )),
        }
    }
    found
}

fn attachments(data: &Value, errors: &mut Vec<FieldError>) -> Vec<Attachment> {
    let items = match data.get("attachments") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) if items.len() <= ATTACHMENTS_MAX => items,
        Some(_) => {
            let detail = format!("must be a list of at most {ATTACHMENTS_MAX} attachments");
            errors.push(FieldError::new("/data/attachments", detail));
            return Vec::new();
        }
    };
    let mut found = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let mut refuse = |key: &str, detail: &str| {
            errors.push(FieldError::new(
                format!("/data/attachments/{index}{key}"),
                detail,
            ));
        };
        let Some(fields) = item.as_object() else {
            refuse(
                "",
                "must be an object with filename, content_type and content",
            );
            continue;
        };
        for key in fields.keys() {
            if !["filename", "content_type", "content"].contains(&key.as_str()) {
                refuse(
                    "",
                    "must have no other keys than filename, content_type and content",
                );
                break;
            }
        }
        let text = |key: &str| item.get(key).and_then(Value::as_str);
        let content_type = match item.get("content_type") {
            None | Some(Value::Null) => Some(CONTENT_TYPE_FALLBACK),
            Some(given) => given.as_str().filter(|text| is_content_type(text)),
        };
        let filename = text("filename").filter(|name| is_filename(name));
        let content = text("content").filter(|content| BASE64.decode(content).is_ok());
        if filename.is_none() {
            refuse(
                "/filename",
                "must be a file's name, without a path or control characters",
            );
        }
        if content_type.is_none() {
            refuse(
                "/content_type",
                "must be a content type, such as application/pdf",
            );
        }
        if content.is_none() {
            refuse("/content", "must be base64, padded and without line breaks");
        }
        if let (Some(filename), Some(content_type), Some(content)) =
            (filename, content_type, content)
        {
            found.push(Attachment {
                filename: filename.to_owned(),
                content_type: content_type.to_owned(),
                content: content.to_owned(),
            });
        }
    }
    found
}

/// Whether a mail program can offer to save a file under this name, and cannot be led elsewhere.
fn is_filename(name: &str) -> bool {
    !name.trim().is_empty()
        && name != "."
        && name != ".."
        && name.chars().count() <= FILENAME_CHARS_MAX
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
        && !address::has_line_break(name)
}

/// `type/subtype` with parameters. The builder of the message parses it again; this keeps out what
/// would break a header.
fn is_content_type(text: &str) -> bool {
    let is_token = |part: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c);
        !part.is_empty() && part.chars().all(is_plain)
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    text.len() <= CONTENT_TYPE_CHARS_MAX
        && text.chars().all(|c| c == ' ' || c.is_ascii_graphic())
        && essence
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(data: &Value) -> Vec<String> {
        let errors = MailParts::from_data(data).expect_err("the data is bad");
        errors.into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn data_without_any_of_the_keys_has_no_mail_parts() {
        for data in [
            json!({"order": 7}),
            json!({}),
            json!({"cc": null, "bcc": [], "attachments": []}),
        ] {
            assert_eq!(MailParts::from_data(&data), Ok(None), "{data}");
        }
    }

    #[test]
    fn one_address_or_a_list_of_them_is_taken() {
        let data = json!({
            "reply_to": "desk@example.com",
            "cc": "bob@example.com",
            "bcc": ["carl@example.com", "dora@example.com"],
            "attachments": [
                {"filename": "Größe.txt", "content_type": "text/plain; charset=utf-8", "content": "SGk="},
                {"filename": "raw", "content": ""},
            ],
        });

        let parts = MailParts::from_data(&data).unwrap().unwrap();

        assert_eq!(parts.reply_to.as_deref(), Some("desk@example.com"));
        assert_eq!(parts.cc, ["bob@example.com"]);
        assert_eq!(parts.bcc, ["carl@example.com", "dora@example.com"]);
        assert_eq!(parts.attachments[0].filename, "Größe.txt");
        assert_eq!(parts.attachments[1].content_type, CONTENT_TYPE_FALLBACK);
    }

    #[test]
    fn a_bad_address_is_named_by_its_place() {
        let data = json!({
            "reply_to": ["a@b.example", "c@d.example"],
            "cc": ["bob@example.com", "bob@example.com\r\nBcc: eve@example.com", 7],
            "bcc": "nobody",
        });

        assert_eq!(
            pointers(&data),
            ["/data/reply_to", "/data/cc/1", "/data/cc/2", "/data/bcc"]
        );
    }

    #[test]
    fn an_attachment_that_could_harm_is_refused() {
        let bad_names = [
            "",
            " ",
            "..",
            "../x",
            "a\\b",
            "a\r\nb",
            "a\0b",
            "a\u{2028}b",
        ];
        for name in bad_names {
            let data = json!({"attachments": [{"filename": name, "content": "SGk="}]});
            assert_eq!(
                pointers(&data),
                ["/data/attachments/0/filename"],
                "{name:?}"
            );
        }
        for kind in [
            "",
            "text",
            "text/",
            "/plain",
            "text/plain\r\nX: y",
            "te xt/plain",
        ] {
            let data =
                json!({"attachments": [{"filename": "a", "content": "", "content_type": kind}]});
            assert_eq!(
                pointers(&data),
                ["/data/attachments/0/content_type"],
                "{kind:?}"
            );
        }
        for content in ["SGk", "S Gk=", "SGk=\n", "%"] {
            let data = json!({"attachments": [{"filename": "a", "content": content}]});
            assert_eq!(
                pointers(&data),
                ["/data/attachments/0/content"],
                "{content:?}"
            );
        }
        assert_eq!(
            pointers(&json!({"attachments": ["a"]})),
            ["/data/attachments/0"]
        );
        let unknown = json!({"attachments": [{"filename": "a", "content": "", "path": "/etc"}]});
        assert_eq!(pointers(&unknown), ["/data/attachments/0"]);
    }

    #[test]
    fn there_are_limits_to_copies_and_attachments() {
        let many = |count: usize| vec!["a@example.com"; count];
        assert_eq!(pointers(&json!({"cc": many(51)})), ["/data/cc"]);
        assert_eq!(
            pointers(&json!({"cc": many(26), "bcc": many(25)})),
            ["/data/cc"]
        );
        assert!(MailParts::from_data(&json!({"cc": many(25), "bcc": many(25)})).is_ok());
        let attachment = json!({"filename": "a", "content": ""});
        let data = json!({"attachments": vec![attachment; 21]});
        assert_eq!(pointers(&data), ["/data/attachments"]);
    }
}
