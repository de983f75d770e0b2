//! What a suite connects to.

use std::path::PathBuf;

use serde_json::json;

use crate::harness::secured::Authority;
use crate::harness::{Kafka, Kmend};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Plain,
    /// The suite speaks TLS to kmend. The cluster has none: directly it is plaintext.
    Tls,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Plain => "plaintext",
            Way::Tls => "TLS",
        }
    }
}

/// A kmend as it comes: every mender repairs.
pub struct Front {
    pub kmend: Kmend,
    /// What clients have to trust.
    pub ca: Option<PathBuf>,
    _dir: tempfile::TempDir,
}

impl Front {
    pub fn start(kafka: &Kafka, way: Way) -> Front {
        let dir = tempfile::Builder::new().prefix("kmend-conformance-").tempdir().expect("a temporary folder");
        let authority = (way == Way::Tls).then(|| Authority::new(dir.path()));
        let kmend = Kmend::start(kafka, |config| {
            if let Some(authority) = &authority {
                let own = authority.pair(dir.path(), "kmend", &["localhost", "127.0.0.1"]);
                config["listen"]["tls"] = json!({ "enabled": true, "cert_file": own.cert, "key_file": own.key });
            }
        });
        for suites_do_that_on_purpose in ["evicted", "connection", "refused"] {
            kmend.allow(suites_do_that_on_purpose);
        }
        Front { kmend, ca: authority.map(|authority| authority.ca()), _dir: dir }
    }

    /// Of what must never happen, whatever a suite does.
    pub fn stayed_well(&self) {
        let metrics = self.kmend.metrics();
        for name in ["kmend_mender_panics_total", "kmend_frame_errors_total"] {
            assert_eq!(metrics.sum(name, &[]), 0.0, "{name}");
        }
    }
}
