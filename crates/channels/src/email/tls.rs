//! Encryption towards the mail server: certificates are checked as the system would.

use std::sync::Arc;

use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, Error};

/// Makes the connector for all sessions. `roots` are trusted beside the system's certificates.
pub(super) fn connector(roots: &[Vec<u8>]) -> Result<TlsConnector, Error> {
    let provider = Arc::new(default_provider());
    let roots = roots.iter().cloned().map(CertificateDer::from);
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        // Called dangerous because a verifier could wave everything through. This one does not.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
