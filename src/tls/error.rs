//! Why TLS settings cannot be used: the key, the file, and what to do.

use std::path::PathBuf;

/// Settings or files that cannot be used. Each names the key of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{key}: {} cannot be read as PEM", path.display())]
    Pem {
        key: &'static str,
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("{key}: {} holds no {wanted}", path.display())]
    Empty { key: &'static str, path: PathBuf, wanted: &'static str },
    #[error(
        "{key}: no certificate authority to trust: this system has none \
         (install ca-certificates or set SSL_CERT_FILE) and {ca_file} is not set"
    )]
    NoRoots { key: &'static str, ca_file: &'static str },
    #[error("{key}: {} holds a certificate that cannot be used", path.display())]
    Root {
        key: &'static str,
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("{section}.cert_file and {section}.key_file: they cannot be used together")]
    Pair {
        section: &'static str,
        #[source]
        source: rustls::Error,
    },
    #[error("{section}: set both cert_file and key_file{}", if *.required { "" } else { ", or none" })]
    Half { section: &'static str, required: bool },
    #[error("{key}: `{name}` is not a host name")]
    ServerName { key: &'static str, name: String },
    #[error("{section}: no TLS version in common with this build")]
    Versions {
        section: &'static str,
        #[source]
        source: rustls::Error,
    },
    #[error("{key}: the authorities cannot be used")]
    Verifier {
        key: &'static str,
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
}
