//! The tokens of users: JWT, checked without leeway.
//!
//! Signed either with the secret we share with the issuer (HS256), or with a private key whose
//! public half is in the issuer's key set ([`jwks`](super::jwks)). Which of the two is decided by
//! the algorithm that the token names, and each algorithm has keys of its own: a public key is never
//! taken for a secret.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use domain::{Role, TenantId, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::auth::Caller;
use super::jwks::Keys;
use crate::config::{AuthConfig, Secret};
use crate::shutdown::Lifetime;

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// Well signed, but over.
    Expired,
    /// Not signed by us, or without a claim that must be there.
    Bad,
    /// It names a key that the issuer's set does not have, so far.
    UnknownKey,
}

/// Checks the tokens of users.
pub(crate) struct Tokens {
    secret: Option<DecodingKey>,
    keys: Option<Keys>,
    audience: Option<String>,
    issuer: Option<String>,
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
    /// The issuer's keys are kept up to date until `lifetime.closing`.
    pub(crate) fn start(config: &AuthConfig, lifetime: &Lifetime) -> Self {
        let secret = config.jwt_secret.as_ref();
        Self {
            secret: secret.map(|secret| DecodingKey::from_secret(secret.reveal().as_bytes())),
            keys: Keys::start(config, lifetime),
            audience: config.jwt_audience.clone(),
            issuer: config.jwt_issuer.clone(),
        }
    }

    /// Checks a token; if its key is not known yet, after the issuer was asked for it.
    pub(crate) async fn verify(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Caller, TokenError> {
        match self.check(token, now) {
            Err(TokenError::UnknownKey) => {}
            checked => return checked,
        }
        match &self.keys {
            Some(keys) if keys.renew().await => self.check(token, now),
            _ => Err(TokenError::Bad),
        }
    }

    fn check(&self, token: &str, now: DateTime<Utc>) -> Result<Caller, TokenError> {
        let claims = self.claims_of(token)?;
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
            key_id: None,
            key_prefix: None,
            tenant_id: tenant.map(TenantId::from).unwrap_or_default(),
            user_id: Some(UserId::from(claims.sub)),
            roles: names.filter_map(Role::parse).collect(),
            // Beyond what a date can say, it does not end.
            expires_at: DateTime::from_timestamp_millis((exp_s * 1e3) as i64),
        })
    }

    /// The claims of a token that is well signed, and meant for us.
    fn claims_of(&self, token: &str) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).or(Err(TokenError::Bad))?;
        // Extensions that must be understood are not.
        if header.crit.is_some() {
            return Err(TokenError::Bad);
        }
        let validation = self.validation(header.alg);
        let decode = |key| jsonwebtoken::decode::<Claims>(token, key, &validation);
        match header.alg {
            Algorithm::HS256 => {
                let key = self.secret.as_ref().ok_or(TokenError::Bad)?;
                decode(key)
                    .map(|token| token.claims)
                    .or(Err(TokenError::Bad))
            }
            // Nobody was given a secret for these.
            Algorithm::HS384 | Algorithm::HS512 => Err(TokenError::Bad),
            algorithm => {
                let keys = self.keys.as_ref().ok_or(TokenError::Bad)?.now();
                let id = header.kid.as_deref();
                if !keys.knows(id) {
                    return Err(TokenError::UnknownKey);
                }
                let mut decoded = keys.for_token(id, algorithm).map(decode);
                let well_signed = decoded.find_map(Result::ok);
                well_signed.map(|token| token.claims).ok_or(TokenError::Bad)
            }
        }
    }

    /// What is asked of a token beside its signature. Time is judged elsewhere, by our own clock and
    /// without leeway.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.validate_aud = self.audience.is_some();
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        validation
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
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

/// Signs a token that a front with the same settings accepts.
///
/// # Errors
///
/// If there is no secret to sign with.
pub fn issue_token_for(
    config: &AuthConfig,
    tenant_id: &TenantId,
    user_id: &UserId,
    now: DateTime<Utc>,
    ttl: Duration,
) -> anyhow::Result<String> {
    let secret = config
        .jwt_secret
        .as_ref()
        .context("there is no secret to sign with; set JWT_SECRET, or start `postrider up` here")?;
    let claims = IssuedClaims {
        aud: config.jwt_audience.as_deref(),
        iss: config.jwt_issuer.as_deref(),
        ..IssuedClaims::new(tenant_id, user_id, now, ttl)
    };
    claims.sign(secret).context("could not sign the token")
}

/// Signs a token for `user_id` that ends `ttl` after `now`.
pub fn issue_token(
    secret: &Secret,
    tenant_id: &TenantId,
    user_id: &UserId,
    now: DateTime<Utc>,
    ttl: Duration,
) -> Result<String, jsonwebtoken::errors::Error> {
    IssuedClaims::new(tenant_id, user_id, now, ttl).sign(secret)
}

impl<'a> IssuedClaims<'a> {
    fn new(
        tenant_id: &'a TenantId,
        user_id: &'a UserId,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Self {
        Self {
            sub: user_id.as_str(),
            tenant: tenant_id.as_str(),
            iat: now.timestamp(),
            exp: now.timestamp().saturating_add(ttl.as_secs() as i64),
            aud: None,
            iss: None,
        }
    }

    fn sign(&self, secret: &Secret) -> Result<String, jsonwebtoken::errors::Error> {
        let key = EncodingKey::from_secret(secret.reveal().as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), self, &key)
    }
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
        let config = AuthConfig {
            jwt_secret: Some(Secret::new(SECRET)),
            jwt_audience: audience.map(str::to_owned),
            ..AuthConfig::default()
        };
        Tokens::start(&config, &Lifetime::default())
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

        let caller = tokens(None).check(&token, now()).unwrap();

        assert_eq!(
            (caller.tenant_id.as_str(), caller.user_id),
            ("t1", Some(user))
        );
        let end = DateTime::from_timestamp(1_800_000_060, 0).unwrap();
        assert!(
            tokens(None)
                .check(&token, end - Duration::from_millis(1))
                .is_ok()
        );
        assert_eq!(tokens(None).check(&token, end), Err(TokenError::Expired));
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
            let verdict = tokens(None).check(&signed(claims.clone()), now());
            assert_eq!(verdict, Err(TokenError::Bad), "{claims}");
        }
    }

    #[test]
    fn bank_id_names_the_tenant_and_unknown_roles_allow_nothing() {
        let claims = json!({
            "sub": "u1", "exp": 4_000_000_000_u64, "bank_id": "b1", "roles": ["read", "owner"],
        });

        let caller = tokens(None).check(&signed(claims), now()).unwrap();

        assert_eq!(caller.tenant_id.as_str(), "b1");
        assert_eq!(caller.roles, [Role::Read]);
    }

    #[test]
    fn the_audience_counts_only_when_one_is_configured() {
        let with = |aud: &str| signed(json!({"sub": "u", "exp": 4_000_000_000_u64, "aud": aud}));

        assert!(tokens(None).check(&with("elsewhere"), now()).is_ok());
        assert!(tokens(Some("here")).check(&with("here"), now()).is_ok());
        assert!(
            tokens(Some("here"))
                .check(&with("elsewhere"), now())
                .is_err()
        );
        let without = signed(json!({"sub": "u", "exp": 4_000_000_000_u64}));
        assert!(tokens(Some("here")).check(&without, now()).is_err());
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
            tokens(None).check(&wrong_algorithm, now()),
            Err(TokenError::Bad)
        );
        assert_eq!(tokens(None).check(&wrong_key, now()), Err(TokenError::Bad));
        // {"alg":"none"} and no signature.
        let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSIsImV4cCI6NDAwMDAwMDAwMH0.";
        assert_eq!(tokens(None).check(none, now()), Err(TokenError::Bad));
    }
}
