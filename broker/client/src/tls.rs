//! TLS as a client: whom to trust, who we are, and what can go wrong with that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, InvalidMessage, RootCertStore};
use rustls::{DigitallySignedStruct, SignatureScheme};
use thiserror::Error;

/// Whose certificate is good enough.
#[derive(Debug, Clone)]
pub enum Trust {
    /// That of a broker whose certificate names it and was issued, perhaps in steps, by one in this PEM file. The
    /// system's own certificates do not count.
    Issuers(PathBuf),
    /// Anybody's. Nothing is verified, so whoever sits between can read and change everything: for measuring and trying
    /// out, on machines that are for nothing else.
    Anybody,
}

/// What we show to a broker that asks for a certificate, as it does for EXTERNAL.
#[derive(Debug, Clone)]
pub struct Identity {
    /// A PEM file with the certificate, and behind it those that lead to an issuer that the broker trusts.
    pub certificates: PathBuf,
    /// A PEM file with the certificate's private key.
    pub key: PathBuf,
}

/// How to speak TLS, 1.2 or 1.3. Made once for many connections, clones share it. Sessions are not resumed: each connection
/// has a handshake of its own.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl TlsOptions {
    /// Reads the files. `server_name` is the host name or IP address that the broker's certificate has to name.
    pub fn new(
        server_name: &str,
        trust: &Trust,
        identity: Option<&Identity>,
    ) -> Result<TlsOptions, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let builder = builder(provider)?;
        let builder = match trust {
            Trust::Issuers(path) => builder.with_root_certificates(issuers(path)?),
            Trust::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody { schemes }))
            }
        };
        let mut config = match identity {
            Some(Identity { certificates, key }) => {
                let unreadable = |cause| TlsError::File { path: key.clone(), cause };
                let secret = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
                builder
                    .with_client_auth_cert(read_certificates(certificates)?, secret)
                    .map_err(|cause| TlsError::Unusable { path: certificates.clone(), cause })?
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        let server_name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| TlsError::ServerName(server_name.to_owned()))?;
        Ok(TlsOptions { config: Arc::new(config), server_name })
    }

    /// A session that has said nothing yet.
    pub(crate) fn session(&self) -> Result<ClientConnection, TlsError> {
        let session = ClientConnection::new(Arc::clone(&self.config), self.server_name.clone());
        session.map_err(TlsError::Protocol)
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn builder(provider: Arc<CryptoProvider>) -> Result<Builder, TlsError> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Protocol)
}

fn issuers(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut issuers = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        let unusable = |cause| TlsError::Unusable { path: path.to_owned(), cause };
        issuers.add(certificate).map_err(unusable)?;
    }
    Ok(issuers)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |cause| TlsError::File { path: path.to_owned(), cause };
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(unreadable(pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

/// Verifies nothing: see [`Trust::Anybody`].
#[derive(Debug)]
struct Anybody {
    /// What is offered all the same, so that the broker chooses as it does for those who verify.
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// What went wrong with TLS.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A PEM file that cannot be read, or has not in it what it should.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What came of it.
        cause: pem::Error,
    },
    /// A certificate, or one with its key, that is of no use.
    #[error("{}: {cause}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rustls::Error,
    },
    /// No name that a certificate could have.
    #[error("{0:?} is neither a host name nor an IP address")]
    ServerName(String),
    /// The broker's certificate is not good enough.
    #[error("the broker's certificate is refused: {}", certificate_text(.0))]
    Certificate(CertificateError),
    /// What answers speaks something else.
    #[error("what answers does not speak TLS: is this the broker's port for it?")]
    NotTls,
    /// The socket was closed during the handshake.
    #[error("the socket was closed during the TLS handshake: is this the broker's port for TLS?")]
    HungUp,
    /// Anything else, such as that we are refused.
    #[error("TLS: {0}")]
    Protocol(rustls::Error),
}

impl TlsError {
    /// What ended a session.
    pub(crate) fn of(error: rustls::Error, handshaking: bool) -> TlsError {
        match error {
            rustls::Error::InvalidCertificate(cause) => TlsError::Certificate(cause),
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) if handshaking => TlsError::NotTls,
            error => TlsError::Protocol(error),
        }
    }
}

fn certificate_text(cause: &CertificateError) -> String {
    match cause {
        CertificateError::UnknownIssuer => "unknown issuer, none of those trusted".to_owned(),
        cause => cause.to_string(),
    }
}
