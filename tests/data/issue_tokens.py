"""Issues user tokens as another system would, with PyJWT, and some as an attacker would.

Prints one JSON object: the issuer's key set, and lists of good and of bad tokens.
"""

import base64
import hashlib
import hmac
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

keys = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
now = int(time.time())
claims = {"sub": "u1", "exp": now + 600, "iat": now}


def public_jwk(name):
    algorithm = jwt.get_algorithm_by_name(name)
    jwk = json.loads(algorithm.to_jwk(keys[name].public_key()))
    return {**jwk, "kid": name, "use": "sig"}


def sign(name, changed=None, **header):
    key = keys["RS256"] if name in ("RS384", "RS512", "PS256", "PS384", "PS512") else keys[name]
    kid = "RS256" if key is keys["RS256"] else name
    return jwt.encode({**claims, **(changed or {})}, key, name, {"kid": kid, **header})


def encoded(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def hmac_with(secret):
    """PyJWT itself refuses to sign with a public key; others do not."""
    head = encoded(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "RS256"}).encode())
    signed = head + b"." + encoded(json.dumps(claims).encode())
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    return (signed + b"." + encoded(digest)).decode()


def public_bytes(encoding, form):
    return keys["RS256"].public_key().public_bytes(encoding, form)


forms = serialization.PublicFormat
pem = public_bytes(serialization.Encoding.PEM, forms.SubjectPublicKeyInfo)
print(
    json.dumps(
        {
            "jwks": {"keys": [public_jwk(name) for name in keys]},
            "good": [sign(name) for name in [*keys, "RS384", "RS512", "PS256", "PS384", "PS512"]],
            "bad": [
                jwt.encode(claims, None, "none", {"kid": "RS256"}),
                hmac_with(pem),
                hmac_with(pem.strip()),
                hmac_with(public_bytes(serialization.Encoding.PEM, forms.PKCS1)),
                hmac_with(public_bytes(serialization.Encoding.DER, forms.SubjectPublicKeyInfo)),
                hmac_with(b""),
                sign("RS256", {"exp": now - 1}),
                sign("RS256", {"nbf": now + 600}),
                sign("RS256", {"sub": ""}),
                sign("ES256", kid="RS256"),
                sign("RS256", kid="ES256"),
                sign("RS256", crit=["b64"]),
                sign("ES256")[:-4] + "AAAA",
            ],
        }
    )
)
