//! Signs a webhook as Standard Webhooks has it, so that the receiver can tell that it is ours.

use standardwebhooks::Webhook as Signer;

use crate::{Secret, SendError};

/// The keys that are in use: one, or several while the receiver changes from one to another.
pub(super) struct Signers(Vec<Signer>);

/// A secret that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("webhook secret {position} must be whsec_ and the key in base64")]
pub struct WebhookSecretError {
    /// Counted from 1.
    pub position: usize,
}

impl Signers {
    pub(super) fn parse(secrets: &[Secret]) -> Result<Self, WebhookSecretError> {
        let signers = secrets.iter().enumerate().map(|(index, secret)| {
            let text = secret.expose();
            let is_empty = text.strip_prefix("whsec_").unwrap_or(text).is_empty();
            let signer = Signer::new(text).ok().filter(|_| !is_empty);
            signer.ok_or(WebhookSecretError {
                position: index + 1,
            })
        });
        signers.collect::<Result<_, _>>().map(Self)
    }

    /// The value of `webhook-signature`: one signature by each key. `None` without a key.
    pub(super) fn signature(
        &self,
        id: &str,
        timestamp: i64,
        body: &[u8],
    ) -> Result<Option<String>, SendError> {
        let signatures = self.0.iter().map(|signer| signer.sign(id, timestamp, body));
        let signatures = signatures.collect::<Result<Vec<_>, _>>();
        let signatures = signatures.map_err(|error| SendError::Rejected {
            detail: format!("the webhook cannot be signed: {error}"),
        })?;
        Ok((!signatures.is_empty()).then(|| signatures.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_example_of_the_specification_gets_its_signature() {
        let signers = Signers::parse(&[Secret::new(SECRET)]).unwrap();
        let signature = signers
            .signature(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#,
            )
            .unwrap();
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature.as_deref(), Some(expected));
    }

    #[test]
    fn every_key_signs_and_without_one_nothing_is_signed() {
        let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let both = Signers::parse(&[Secret::new(SECRET), Secret::new(other)]).unwrap();
        let signature = both.signature("id", 1, b"{}").unwrap().unwrap();
        assert_eq!(signature.split(' ').count(), 2);
        let none = Signers::parse(&[]).unwrap();
        assert_eq!(none.signature("id", 1, b"{}"), Ok(None));
    }

    #[test]
    fn a_bad_secret_is_named_by_its_position() {
        for bad in ["whsec_", "", "whsec_not base64", "whsec_abc"] {
            let error = Signers::parse(&[Secret::new(SECRET), Secret::new(bad)]).err();
            assert_eq!(error, Some(WebhookSecretError { position: 2 }), "{bad}");
        }
    }
}
