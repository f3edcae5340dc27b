//! An issuer of user tokens with private keys, and a server that shows the public ones.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chrono::Utc;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Bytes before the RSA key itself in the PKCS #8 document of one of 2048 bits.
const RSA_PREFIX: usize = 26;

/// The key pair of RFC 8037, appendix A, which nobody else should use.
const ED25519: [u8; 48] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
const ED25519_PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// A private key with its name.
pub(crate) struct Signer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    pub(crate) fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        let pair = |of| rcgen::KeyPair::generate_for(of).unwrap().serialize_der();
        let key = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_der(&pair(&rcgen::PKCS_ECDSA_P256_SHA256)),
            Algorithm::ES384 => EncodingKey::from_ec_der(&pair(&rcgen::PKCS_ECDSA_P384_SHA384)),
            Algorithm::EdDSA => EncodingKey::from_ed_der(&ED25519),
            _ => EncodingKey::from_rsa_der(&pair(&rcgen::PKCS_RSA_SHA256)[RSA_PREFIX..]),
        };
        Self {
            kid,
            algorithm,
            key,
        }
    }

    /// The public half, as a set shows it.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = if self.algorithm == Algorithm::EdDSA {
            json!({"kty": "OKP", "crv": "Ed25519", "x": ED25519_PUBLIC})
        } else {
            let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
            serde_json::to_value(jwk).unwrap()
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        // RSA keys serve for several.
        jwk.as_object_mut().unwrap().remove("alg");
        jwk
    }

    /// A token of `user`, valid for an hour.
    pub(crate) fn token(&self, user: &str) -> String {
        self.sign(&claims(user))
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(self.algorithm, Some(self.kid), claims)
    }

    /// A token whose header says what it likes.
    pub(crate) fn sign_as(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        claims: &Value,
    ) -> String {
        let mut header = Header::new(algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// The claims of `user` for an hour.
pub(crate) fn claims(user: &str) -> Value {
    json!({"sub": user, "exp": Utc::now().timestamp() + 3600})
}

/// The set of these public keys.
pub(crate) fn set_of(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({"keys": keys}).to_string()
}

/// Serves a text under any path.
pub(crate) struct KeyServer {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl KeyServer {
    pub(crate) async fn start(text: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new((200, text)));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answering, counting) = (Arc::clone(&answer), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_err() {
                    continue;
                }
                counting.fetch_add(1, Ordering::SeqCst);
                let (status, text) = answering.lock().unwrap().clone();
                let head = format!(
                    "HTTP/1.1 {status} -\r\nlocation: /elsewhere\r\ncontent-length: {}\r\n\
                     connection: close\r\n\r\n",
                    text.len()
                );
                // Whether it is read to its end is the other side's choice.
                drop(stream.write_all((head + &text).as_bytes()).await);
                drop(stream.shutdown().await);
            }
        });
        Self {
            address,
            answer,
            asked,
            _task: AbortOnDropHandle::new(serving),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    /// Answers so from now on.
    pub(crate) fn answer(&self, status: u16, text: String) {
        *self.answer.lock().unwrap() = (status, text);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
