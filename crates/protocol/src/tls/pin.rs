//! A client that accepts one key and no other.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::{ALPN, KeyHash};

/// The server has another key than its address says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key's hash is {got}, not {expected}")]
pub struct PinMismatch {
    /// What the address says.
    pub expected: KeyHash,
    /// What the server showed.
    pub got: KeyHash,
}

/// TLS 1.3 for a client that talks to the owner of the key with hash `expected`, over HTTP/2. A server with another
/// key fails the handshake with [`PinMismatch`] inside the [`rustls::Error`].
///
/// # Errors
/// [`rustls::Error`] when the library was built without TLS 1.3.
pub fn client_config(expected: KeyHash) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(PinVerifier { expected, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    // The name is never looked at; leaving it out spares bystanders from reading it.
    config.enable_sni = false;
    Ok(config)
}

/// Accepts the certificate whose key has the expected hash, whatever its names and dates, and checks that the server
/// owns that key (the signature of the handshake).
#[derive(Debug)]
struct PinVerifier {
    expected: KeyHash,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let got = KeyHash::of(ParsedCertificate::try_from(end_entity)?.subject_public_key_info().as_ref());
        if got != self.expected {
            let mismatch = PinMismatch { expected: self.expected, got };
            return Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // The configuration allows TLS 1.3 only.
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The mismatch inside the error of a failed handshake, if that is what it was.
pub(crate) fn mismatch_in(error: &std::io::Error) -> Option<PinMismatch> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref().copied(),
        _ => None,
    }
}
