//! The options of TLS.

use anyhow::{Result, bail};
use clap::Args;
use fletch_client::{Identity, TlsOptions, Trust};
use std::path::PathBuf;

/// For URLs that begin with `amqps://`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TlsArguments {
    /// With amqps://, issuers of certificates to trust, a PEM file. The certificate has to name the URL's host.
    #[arg(long, value_name = "FILE", conflicts_with = "tls_insecure")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// With amqps://, trust whoever answers. Only for measuring, where nothing else is at stake.
    #[arg(long)]
    pub(crate) tls_insecure: bool,
    /// With amqps://, our own certificate, a PEM file: for brokers that ask for one.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of that certificate, a PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

impl TlsArguments {
    /// What to speak with a broker on this host.
    pub(crate) fn options(&self, host: &str) -> Result<TlsOptions> {
        let trust = match &self.tls_ca {
            Some(path) => Trust::Issuers(path.clone()),
            None if self.tls_insecure => Trust::Anybody,
            None => bail!(
                "whom to trust? --tls-ca FILE with the issuer of the broker's certificate, or --tls-insecure for anybody"
            ),
        };
        Ok(TlsOptions::new(host, &trust, self.identity().as_ref())?)
    }

    /// Who we are.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let (certificates, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(Identity { certificates, key })
    }

    /// Refuses what would say nothing, as none of these brokers is reached over TLS.
    pub(crate) fn check<'a>(&self, urls: impl IntoIterator<Item = &'a String>) -> Result<()> {
        let given = self.tls_ca.is_some() || self.tls_insecure || self.tls_cert.is_some();
        if given && !urls.into_iter().any(|url| url.starts_with("amqps://")) {
            bail!("--tls-ca, --tls-insecure and --tls-cert are for brokers by amqps://HOST:PORT");
        }
        Ok(())
    }
}
