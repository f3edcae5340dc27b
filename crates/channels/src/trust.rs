//! Whom we trust under TLS: the certificates of the system, and those the operator adds.
//!
//! Both clients of this crate take their settings from here. The verifier that the HTTP client
//! would bring along reads the same certificates, but writes a server's name to the log when it
//! refuses it, and will not start on a machine without any.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

/// Makes the settings for sessions in which the server has to show a certificate that the system
/// trusts, or one of `roots` (in DER).
///
/// A machine without any certificates trusts nobody: encrypted sessions fail there one by one.
pub(crate) fn client_config(roots: &[Vec<u8>]) -> Result<ClientConfig, Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.clone()))?;
    }
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        tracing::warn!("this machine has no certificates of authorities, so no TLS will succeed");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(config)
}
