//! User tokens that an issuer signs with private keys: which are accepted, and how keys change.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use postrider::config::{AuthConfig, Secret};
use serde_json::{Value, json};
use testkit::eventually;

use crate::SOON;
use crate::front::{ADMIN_KEY, Front};
use crate::issuer::{KeyServer, Signer, claims, set_of};

const PATH: &str = "/v1/notifications";

async fn status(front: &Front, token: &str) -> u16 {
    front.get_as(token, PATH).await.status.as_u16()
}

/// A front whose issuer shows these keys in a file.
async fn with_file(signers: &[&Signer], change: impl FnOnce(&mut AuthConfig)) -> Keyring {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, set_of(signers)).unwrap();
    let front = Front::start_with(|config| {
        config.auth.jwks_file = Some(file.display().to_string());
        change(&mut config.auth);
    })
    .await;
    Keyring {
        front,
        file,
        _folder: folder,
    }
}

struct Keyring {
    front: Front,
    file: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

#[tokio::test]
async fn a_token_is_accepted_with_any_key_of_the_set_and_the_shared_secret_still_counts() {
    let [rsa, p256, p384, ed] = [
        ("rsa", Algorithm::RS256),
        ("p256", Algorithm::ES256),
        ("p384", Algorithm::ES384),
        ("ed", Algorithm::EdDSA),
    ]
    .map(|(kid, algorithm)| Signer::new(kid, algorithm));
    let Keyring { front, .. } = &with_file(&[&rsa, &p256, &p384, &ed], |_| {}).await;

    for signer in [&rsa, &p256, &p384, &ed] {
        assert_eq!(status(front, &signer.token("u1")).await, 200);
    }
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        let token = rsa.sign_as(algorithm, Some("rsa"), &claims("u1"));
        assert_eq!(status(front, &token).await, 200, "{algorithm:?}");
    }
    assert_eq!(status(front, &crate::front::token("u1")).await, 200);
    let unnamed = p256.sign_as(Algorithm::ES256, None, &claims("u1"));
    assert_eq!(status(front, &unnamed).await, 200, "one key fits");
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_secret() {
    let rsa = Signer::new("rsa", Algorithm::RS256);
    let set = set_of(&[&rsa]);
    let modulus = rsa.jwk()["n"].as_str().unwrap().to_owned();
    for has_secret in [true, false] {
        let Keyring { front, .. } = &with_file(&[&rsa], |auth| {
            if !has_secret {
                auth.jwt_secret = None;
            }
        })
        .await;
        // What anybody can know of it, as a key of an HMAC.
        for public in [
            set.as_bytes(),
            modulus.as_bytes(),
            rsa.jwk().to_string().as_bytes(),
            b"",
        ] {
            let key = EncodingKey::from_secret(public);
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let mut header = Header::new(algorithm);
                header.kid = Some("rsa".to_owned());
                let token = jsonwebtoken::encode(&header, &claims("u1"), &key).unwrap();
                assert_eq!(status(front, &token).await, 401, "{algorithm:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_with_another_algorithm_or_key_or_header_is_refused() {
    let [rsa, p256, stranger] = [
        ("rsa", Algorithm::RS256),
        ("p256", Algorithm::ES256),
        ("p256", Algorithm::ES256),
    ]
    .map(|(kid, algorithm)| Signer::new(kid, algorithm));
    let Keyring { front, .. } = &with_file(&[&rsa, &p256], |_| {}).await;
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSIsImV4cCI6NDAwMDAwMDAwMH0";

    for token in [
        stranger.token("u1"),
        p256.sign_as(Algorithm::ES256, Some("rsa"), &claims("u1")),
        p256.sign_as(Algorithm::ES256, Some("nobody"), &claims("u1")),
        format!("{none}."),
        format!("{none}.c2lnbmF0dXJl"),
        p256.token("u1").replace('.', ".x"),
    ] {
        assert_eq!(status(front, &token).await, 401, "{token}");
    }
}

#[tokio::test]
async fn what_a_token_says_of_itself_must_fit_whoever_signed_it() {
    let signer = Signer::new("k", Algorithm::ES256);
    let Keyring { front, .. } = &with_file(&[&signer], |auth| {
        auth.jwt_issuer = Some("https://id.example".to_owned());
        auth.jwt_audience = Some("postrider".to_owned());
    })
    .await;
    let now = Utc::now().timestamp();
    let good =
        json!({"sub": "u1", "exp": now + 60, "iss": "https://id.example", "aud": "postrider"});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        signer.sign(&claims)
    };

    assert_eq!(status(front, &signer.sign(&good)).await, 200);
    assert_eq!(
        status(front, &with("aud", json!(["a", "postrider"]))).await,
        200
    );
    for (name, value) in [
        ("aud", json!("elsewhere")),
        ("aud", Value::Null),
        ("iss", json!("https://evil.example")),
        ("iss", Value::Null),
        ("exp", Value::Null),
        ("exp", json!(now - 1)),
        ("nbf", json!(now + 60)),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("tenant", json!("")),
    ] {
        assert_eq!(
            status(front, &with(name, value.clone())).await,
            401,
            "{name} {value}"
        );
    }
    // Nor is the secret's own token excused.
    assert_eq!(status(front, &crate::front::token("u1")).await, 401);
}

#[tokio::test]
async fn a_token_of_another_tenant_sees_nothing_of_this_one() {
    let signer = Signer::new("k", Algorithm::ES256);
    let Keyring { front, .. } = &with_file(&[&signer], |_| {}).await;
    let id = front.deliver("u1", "mine").await;
    for claim in ["tenant", "bank_id"] {
        let mut claims = claims("u1");
        claims[claim] = json!("other");
        claims["roles"] = json!(["admin"]);
        let token = signer.sign(&claims);

        let listed = front.get_as(&token, PATH).await.expect(200);
        assert_eq!(listed["items"], json!([]));
        front
            .get_as(&token, &format!("{PATH}/{id}"))
            .await
            .expect_problem(404);
    }
}

#[tokio::test]
async fn a_key_that_is_new_at_the_url_is_accepted_with_its_first_token_and_a_gone_one_no_more() {
    let old = Signer::new("old", Algorithm::ES256);
    let server = KeyServer::start(set_of(&[&old])).await;
    let front = Front::start_with(|config| {
        config.auth.jwks_url = Some(server.url());
        config.auth.jwks_refresh = Duration::from_hours(1);
    })
    .await;
    assert_eq!(status(&front, &old.token("u1")).await, 200);

    let next = Signer::new("next", Algorithm::RS256);
    server.answer(200, set_of(&[&next]));

    // Nobody asks again within seconds of the last time.
    eventually(SOON, async || {
        status(&front, &next.token("u1")).await == 200
    })
    .await;
    assert_eq!(status(&front, &old.token("u1")).await, 401);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_makes_no_flood_of_fetches() {
    let signer = Signer::new("k", Algorithm::ES256);
    let server = KeyServer::start(set_of(&[&signer])).await;
    let front = Front::start_with(|config| {
        config.auth.jwks_url = Some(server.url());
        config.auth.jwks_refresh = Duration::from_hours(1);
    })
    .await;
    assert_eq!(status(&front, &signer.token("u1")).await, 200);

    let ask = async |n: usize| {
        let kid = format!("unknown-{n}");
        let token = signer.sign_as(Algorithm::ES256, Some(&kid), &claims("u1"));
        assert_eq!(status(&front, &token).await, 401);
    };
    for round in 0..10 {
        let asked: Vec<_> = (0..20).map(|n| ask(round * 20 + n)).collect();
        futures_util::future::join_all(asked).await;
    }

    assert!(server.asked() <= 3, "{} fetches", server.asked());
    assert_eq!(status(&front, &signer.token("u1")).await, 200);
}

#[tokio::test]
async fn keys_stay_in_use_while_their_url_gives_nothing_usable() {
    let signer = Signer::new("k", Algorithm::ES256);
    for (code, text) in [
        (500, String::new()),
        (302, String::new()),
        (200, "<html>".to_owned()),
        (
            200,
            format!("{{\"keys\":[],\"padding\":\"{}\"}}", "x".repeat(300_000)),
        ),
    ] {
        let server = KeyServer::start(set_of(&[&signer])).await;
        let front = Front::start_with(|config| {
            config.auth.jwks_url = Some(server.url());
            // Below what the configuration allows, for the test.
            config.auth.jwks_refresh = Duration::from_millis(50);
        })
        .await;
        assert_eq!(status(&front, &signer.token("u1")).await, 200);
        server.answer(code, text);
        let before = server.asked();
        eventually(SOON, async || server.asked() >= before + 2).await;

        assert_eq!(
            status(&front, &signer.token("u1")).await,
            200,
            "after {code}"
        );
    }
}

#[tokio::test]
async fn a_start_does_not_wait_for_a_url_that_is_down() {
    let signer = Signer::new("k", Algorithm::ES256);
    let server = KeyServer::start(String::new()).await;
    server.answer(503, String::new());
    let front = Front::start_with(|config| config.auth.jwks_url = Some(server.url())).await;

    front.get_as(ADMIN_KEY, PATH).await.expect(200);
    assert_eq!(status(&front, &signer.token("u1")).await, 401);
    server.answer(200, set_of(&[&signer]));
    eventually(SOON, async || {
        status(&front, &signer.token("u1")).await == 200
    })
    .await;
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let old = Signer::new("old", Algorithm::ES256);
    let house = with_file(&[&old], |_| {}).await;
    assert_eq!(status(&house.front, &old.token("u1")).await, 200);

    let next = Signer::new("next", Algorithm::ES256);
    std::fs::write(&house.file, set_of(&[&next])).unwrap();

    eventually(SOON, async || {
        status(&house.front, &old.token("u1")).await == 401
    })
    .await;
    assert_eq!(status(&house.front, &next.token("u1")).await, 200);
    std::fs::write(&house.file, "half a fi").unwrap();
    assert_eq!(status(&house.front, &next.token("u1")).await, 200);
}

#[tokio::test]
async fn a_token_that_we_issue_says_what_we_ask_of_one() {
    let config = AuthConfig {
        jwt_secret: Some(Secret::new("s")),
        jwt_issuer: Some("https://id.example".to_owned()),
        jwt_audience: Some("postrider".to_owned()),
        ..AuthConfig::default()
    };
    let wanted = config.clone();
    let front = Front::start_with(|config| config.auth = wanted).await;
    let (tenant, user) = (domain::TenantId::default(), domain::UserId::from("u1"));

    let token = postrider::api::token::issue_token_for(
        &config,
        &tenant,
        &user,
        Utc::now() - TimeDelta::seconds(1),
        Duration::from_mins(1),
    );

    assert_eq!(status(&front, &token.unwrap()).await, 200);
}

/// Names a Python that can import `PyJWT`.
const PYTHON_VARIABLE: &str = "POSTRIDER_TEST_PYTHON";

#[tokio::test]
async fn tokens_of_pyjwt_are_accepted_and_those_of_an_attacker_are_not() {
    let python = std::env::var(PYTHON_VARIABLE).unwrap_or_else(|_| {
        panic!("{PYTHON_VARIABLE} names no Python that has PyJWT: run the tests with script/test")
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/issue_tokens.py");
    let output = tokio::process::Command::new(python)
        .arg(script)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let issued: Value = serde_json::from_slice(&output.stdout).unwrap();
    let server = KeyServer::start(issued["jwks"].to_string()).await;
    let front = Front::start_with(|config| config.auth.jwks_url = Some(server.url())).await;
    let tokens =
        |kind: &str| -> Vec<String> { serde_json::from_value(issued[kind].clone()).unwrap() };

    for token in tokens("good") {
        assert_eq!(status(&front, &token).await, 200, "{token}");
    }
    for token in tokens("bad") {
        assert_eq!(status(&front, &token).await, 401, "{token}");
    }
}
