//! The tokens of users: JWT, signed with HS256, checked without leeway.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{Role, TenantId, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::auth::Caller;
use crate::config::{AuthConfig, Secret};

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// Well signed, but over.
    Expired,
    /// Not signed by us, or without a claim that must be there.
    Bad,
}

/// Checks the tokens of users (JWT, HS256).
pub(crate) struct Tokens {
    key: Option<DecodingKey>,
    validation: Validation,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: Number,
    nbf: Option<Number>,
    tenant: Option<String>,
    bank_id: Option<String>,
    #[serde(default)]
    roles: Value,
}

impl Tokens {
    pub(crate) fn new(config: &AuthConfig) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // Time is judged below, by our own clock and without leeway.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.validate_aud = config.jwt_audience.is_some();
        if let Some(audience) = &config.jwt_audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        let key = config
            .jwt_secret
            .as_ref()
            .map(|secret| DecodingKey::from_secret(secret.reveal().as_bytes()));
        Self { key, validation }
    }

    pub(crate) fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Caller, TokenError> {
        let key = self.key.as_ref().ok_or(TokenError::Bad)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|_not_ours| TokenError::Bad)?
            .claims;
        let now_s = now.timestamp_micros() as f64 / 1e6;
        let exp_s = claims.exp.as_f64().ok_or(TokenError::Bad)?;
        if exp_s <= now_s {
            return Err(TokenError::Expired);
        }
        if claims
            .nbf
            .and_then(|nbf| nbf.as_f64())
            .is_some_and(|nbf_s| nbf_s > now_s)
        {
            return Err(TokenError::Bad);
        }
        let tenant = claims.tenant.or(claims.bank_id);
        if !is_name(&claims.sub) || !tenant.as_deref().is_none_or(is_name) {
            return Err(TokenError::Bad);
        }
        // Roles we do not know belong to other systems and allow nothing here.
        let names = claims
            .roles
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        Ok(Caller {
            key_prefix: None,
            tenant_id: tenant.map(TenantId::from).unwrap_or_default(),
            user_id: Some(UserId::from(claims.sub)),
            roles: names.filter_map(Role::parse).collect(),
            // Beyond what a date can say, it does not end.
            expires_at: DateTime::from_timestamp_millis((exp_s * 1e3) as i64),
        })
    }
}

/// Whether a claim can name somebody: not empty, short enough for the tables, without U+0000.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 255 && !text.contains('\0')
}

#[derive(Serialize)]
struct IssuedClaims<'a> {
    sub: &'a str,
    tenant: &'a str,
    iat: i64,
    exp: i64,
}

/// Signs a token for `user_id` that ends `ttl` after `now`.
pub fn issue_token(
    secret: &Secret,
    tenant_id: &TenantId,
    user_id: &UserId,
    now: DateTime<Utc>,
    ttl: Duration,
) -> Result<String, jsonwebtoken::errors::Error> {
    let claims = IssuedClaims {
        sub: user_id.as_str(),
        tenant: tenant_id.as_str(),
        iat: now.timestamp(),
        exp: now.timestamp().saturating_add(ttl.as_secs() as i64),
    };
    let key = EncodingKey::from_secret(secret.reveal().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "a secret of the tests";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 500_000_000).unwrap()
    }

    fn tokens(audience: Option<&str>) -> Tokens {
        Tokens::new(&AuthConfig {
            jwt_secret: Some(Secret::new(SECRET)),
            jwt_audience: audience.map(str::to_owned),
            ..AuthConfig::default()
        })
    }

    fn signed(claims: Value) -> String {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    }

    #[test]
    fn an_issued_token_is_accepted_until_its_second_is_over() {
        let secret = Secret::new(SECRET);
        let user = UserId::from("u1");
        let token = issue_token(
            &secret,
            &TenantId::from("t1"),
            &user,
            now(),
            Duration::from_mins(1),
        )
        .unwrap();

        let caller = tokens(None).verify(&token, now()).unwrap();

        assert_eq!(
            (caller.tenant_id.as_str(), caller.user_id),
            ("t1", Some(user))
        );
        let end = DateTime::from_timestamp(1_800_000_060, 0).unwrap();
        assert!(
            tokens(None)
                .verify(&token, end - Duration::from_millis(1))
                .is_ok()
        );
        assert_eq!(tokens(None).verify(&token, end), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_without_its_claims_is_refused() {
        let later = now().timestamp() + 60;
        for claims in [
            json!({"sub": "u1"}),
            json!({"exp": later}),
            json!({"sub": "", "exp": later}),
            json!({"sub": "u\u{0}1", "exp": later}),
            json!({"sub": "u1", "exp": "soon"}),
            json!({"sub": "u1", "exp": later, "nbf": later - 1}),
            json!({"sub": 7, "exp": later}),
        ] {
            let verdict = tokens(None).verify(&signed(claims.clone()), now());
            assert_eq!(verdict, Err(TokenError::Bad), "{claims}");
        }
    }

    #[test]
    fn bank_id_names_the_tenant_and_unknown_roles_allow_nothing() {
        let claims = json!({
            "sub": "u1", "exp": 4_000_000_000_u64, "bank_id": "b1", "roles": ["read", "owner"],
        });

        let caller = tokens(None).verify(&signed(claims), now()).unwrap();

        assert_eq!(caller.tenant_id.as_str(), "b1");
        assert_eq!(caller.roles, [Role::Read]);
    }

    #[test]
    fn the_audience_counts_only_when_one_is_configured() {
        let with = |aud: &str| signed(json!({"sub": "u", "exp": 4_000_000_000_u64, "aud": aud}));

        assert!(tokens(None).verify(&with("elsewhere"), now()).is_ok());
        assert!(tokens(Some("here")).verify(&with("here"), now()).is_ok());
        assert!(
            tokens(Some("here"))
                .verify(&with("elsewhere"), now())
                .is_err()
        );
        let without = signed(json!({"sub": "u", "exp": 4_000_000_000_u64}));
        assert!(tokens(Some("here")).verify(&without, now()).is_err());
    }

    #[test]
    fn another_algorithm_or_key_is_refused() {
        let claims = json!({"sub": "u1", "exp": 4_000_000_000_u64});
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let wrong_algorithm =
            jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims, &key).unwrap();
        let other = EncodingKey::from_secret(b"another secret");
        let wrong_key =
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &other).unwrap();

        assert_eq!(
            tokens(None).verify(&wrong_algorithm, now()),
            Err(TokenError::Bad)
        );
        assert_eq!(tokens(None).verify(&wrong_key, now()), Err(TokenError::Bad));
        // {"alg":"none"} and no signature.
        let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSIsImV4cCI6NDAwMDAwMDAwMH0.";
        assert_eq!(tokens(None).verify(none, now()), Err(TokenError::Bad));
    }
}
