//! PEM files: reading them, and knowing whether they hold something new.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;
use crate::config::Config;

/// All certificates of a file, in its order; at least one.
pub fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Pem { key, path: path.to_owned(), source };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { key, path: path.to_owned(), wanted: "certificate" });
    }
    Ok(certificates)
}

/// Trusts all certificates of a file; which they are.
pub fn trust(
    roots: &mut RootCertStore,
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let authorities = certificates(key, path)?;
    for authority in &authorities {
        let unusable = |source| TlsError::Root { key, path: path.to_owned(), source };
        roots.add(authority.clone()).map_err(unusable)?;
    }
    Ok(authorities)
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC1.
pub fn private_key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| match source {
        pem::Error::NoItemsFound => {
            TlsError::Empty { key, path: path.to_owned(), wanted: "private key (encrypted ones are not read)" }
        }
        source => TlsError::Pem { key, path: path.to_owned(), source },
    })
}

/// What was read, in short: equal where the same certificates and keys were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents(u64);

impl Contents {
    pub(super) fn with_certificates(self, certificates: &[CertificateDer<'_>]) -> Contents {
        certificates.iter().fold(self, |contents, certificate| contents.with(certificate))
    }

    /// A short hash with nothing to undo it: it gives nothing of the key away.
    pub(super) fn with_key(self, key: &PrivateKeyDer<'_>) -> Contents {
        self.with(key.secret_der())
    }

    fn with(self, bytes: &[u8]) -> Contents {
        let mut hasher = DefaultHasher::new();
        (self.0, bytes).hash(&mut hasher);
        Contents(hasher.finish())
    }
}

/// The files whose change is a reason to read certificates again.
pub fn watched(config: &Config) -> Vec<PathBuf> {
    let (up, down) = (&config.upstream.tls, &config.listen.tls);
    let upstream = [&up.ca_file, &up.cert_file, &up.key_file].map(|file| file.as_ref().filter(|_| up.enabled));
    let listen =
        [&down.cert_file, &down.key_file, &down.client_ca_file].map(|file| file.as_ref().filter(|_| down.enabled));
    upstream.into_iter().chain(listen).flatten().cloned().collect()
}
