//! A JSON Web Key Set (RFC 7517): public keys, and for which signatures each may be used.
//!
//! What a key may check is decided by the key and never by the token: an RSA key is not used for an
//! HMAC, whatever a token says. Keys that are not for signatures, symmetric ones and those of kinds
//! we do not know are passed over, as the standard asks.

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// Keys of one set. Issuers have two or three.
const KEYS_MAX: usize = 100;

/// Keys that are tried for a token that does not name its own.
const TRIED_MAX: usize = 4;

/// The keys of an issuer.
#[derive(Default)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    checks: DecodingKey,
}

impl KeySet {
    /// Reads a set; the error says what is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let set: Value = serde_json::from_slice(text).or(Err("it is not JSON"))?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("it is no JSON Web Key Set: it has no list of `keys`")?;
        if keys.len() > KEYS_MAX {
            return Err("it has more than 100 keys");
        }
        let keys = keys.iter().filter_map(Key::read).collect();
        Ok(Self { keys })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the set has a key of this id, or any at all for a token that names none.
    pub(crate) fn knows(&self, id: Option<&str>) -> bool {
        self.keys
            .iter()
            .any(|key| id.is_none() || key.id.as_deref() == id)
    }

    /// The keys that a token signed with `algorithm` may be checked by.
    pub(crate) fn for_token(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        self.keys
            .iter()
            .filter(move |key| id.is_none() || key.id.as_deref() == id)
            .filter(move |key| key.algorithms.contains(&algorithm))
            .take(TRIED_MAX)
            .map(|key| &key.checks)
    }
}

impl Key {
    /// Takes a key that can check signatures; `None` for any other.
    fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let common = &jwk.common;
        let is_for_signatures = match &common.public_key_use {
            None | Some(PublicKeyUse::Signature) => true,
            Some(_) => false,
        };
        let may_verify = common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !is_for_signatures || !may_verify {
            return None;
        }
        let mut algorithms = algorithms_of(&jwk.algorithm);
        if let Some(named) = common.key_algorithm {
            algorithms.retain(|algorithm| is_same(*algorithm, named));
        }
        if algorithms.is_empty() {
            return None;
        }
        Some(Self {
            id: common.key_id.clone(),
            algorithms,
            checks: DecodingKey::from_jwk(&jwk).ok()?,
        })
    }
}

/// The signatures a key of this kind can check.
fn algorithms_of(parameters: &AlgorithmParameters) -> Vec<Algorithm> {
    match parameters {
        AlgorithmParameters::RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            // The rest cannot be checked with what we have.
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        // A secret has no place among public keys.
        _ => Vec::new(),
    }
}

fn is_same(algorithm: Algorithm, named: KeyAlgorithm) -> bool {
    matches!(
        (algorithm, named),
        (Algorithm::RS256, KeyAlgorithm::RS256)
            | (Algorithm::RS384, KeyAlgorithm::RS384)
            | (Algorithm::RS512, KeyAlgorithm::RS512)
            | (Algorithm::PS256, KeyAlgorithm::PS256)
            | (Algorithm::PS384, KeyAlgorithm::PS384)
            | (Algorithm::PS512, KeyAlgorithm::PS512)
            | (Algorithm::ES256, KeyAlgorithm::ES256)
            | (Algorithm::ES384, KeyAlgorithm::ES384)
            | (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(set: &Value) -> Result<KeySet, &'static str> {
        KeySet::parse(set.to_string().as_bytes())
    }

    /// The key pair of RFC 8037, appendix A.
    fn ed25519() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "e",
               "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    #[test]
    fn keys_that_are_not_for_signatures_are_passed_over() {
        let with = |name: &str, value: Value| {
            let mut key = ed25519();
            key[name] = value;
            let set = parse(&json!({"keys": [key]})).unwrap();
            set.for_token(Some("e"), Algorithm::EdDSA).count()
        };

        assert_eq!(with("use", json!("sig")), 1);
        assert_eq!(with("use", json!("enc")), 0);
        assert_eq!(with("key_ops", json!(["verify"])), 1);
        assert_eq!(with("key_ops", json!(["encrypt"])), 0);
        assert_eq!(with("alg", json!("EdDSA")), 1);
        assert_eq!(with("alg", json!("ES256")), 0);
        assert_eq!(with("kty", json!("XYZ")), 0);
    }

    #[test]
    fn a_secret_among_the_keys_checks_nothing() {
        let secret = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"});

        let set = parse(&json!({"keys": [secret, ed25519()]})).unwrap();

        assert_eq!(set.for_token(Some("s"), Algorithm::HS256).count(), 0);
        assert!(!set.knows(Some("s")) && set.knows(Some("e")) && set.knows(None));
    }

    #[test]
    fn a_document_that_is_no_set_is_refused() {
        assert!(KeySet::parse(b"<html>").is_err());
        assert!(parse(&json!({"error": "not here"})).is_err());
        assert!(parse(&json!({"keys": vec![ed25519(); 101]})).is_err());
        assert!(parse(&json!({"keys": []})).unwrap().is_empty());
    }
}
