//! Listeners of a broker that want to know who is there, each with a port of its own, and the certificates for them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::kafka::{PASSWORD, USER};

/// How long a login lasts at these listeners (KIP-368).
pub const SESSION_MS: u64 = 3_000;
/// The name in the client certificate that [`Authority`] makes, and its principal at the broker.
pub const BEARER: &str = "carol";

/// One listener. All of them speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Plain,
    Scram256,
    Scram512,
    Oauth,
    /// A client certificate in place of a login.
    Mtls,
}

impl Way {
    pub const ALL: [Way; 5] = [Way::Plain, Way::Scram256, Way::Scram512, Way::Oauth, Way::Mtls];
    pub const LOGINS: [Way; 4] = [Way::Plain, Way::Scram256, Way::Scram512, Way::Oauth];

    /// The mechanism's name in SASL.
    pub fn mechanism(self) -> &'static str {
        match self {
            Way::Plain => "PLAIN",
            Way::Scram256 => "SCRAM-SHA-256",
            Way::Scram512 => "SCRAM-SHA-512",
            Way::Oauth => "OAUTHBEARER",
            Way::Mtls => "none",
        }
    }

    fn listener(self) -> &'static str {
        match self {
            Way::Plain => "PLAIN",
            Way::Scram256 => "SCRAM256",
            Way::Scram512 => "SCRAM512",
            Way::Oauth => "OAUTH",
            Way::Mtls => "MTLS",
        }
    }

    /// What server.properties says of this listener alone.
    fn properties(self) -> String {
        let own = format!("listener.name.{}", self.listener().to_lowercase());
        if self == Way::Mtls {
            let name = "RULE:^CN=([^,]+).*$/$1/";
            return format!("{own}.ssl.client.auth=required\n{own}.ssl.principal.mapping.rules={name}\n");
        }
        let packages = "org.apache.kafka.common.security";
        let mechanism = format!("{own}.{}", self.mechanism().to_lowercase());
        let module = match self {
            Way::Plain => format!("plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\""),
            Way::Oauth => "oauthbearer.OAuthBearerLoginModule required".to_owned(),
            _ => "scram.ScramLoginModule required".to_owned(),
        };
        let mut text = format!(
            "{own}.sasl.enabled.mechanisms={}\n{mechanism}.connections.max.reauth.ms={SESSION_MS}\n\
             {mechanism}.sasl.jaas.config={packages}.{module};\n",
            self.mechanism()
        );
        if self == Way::Oauth {
            let class = "oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler";
            text.push_str(&format!("{mechanism}.sasl.server.callback.handler.class={packages}.{class}\n"));
        }
        text
    }
}

/// What these listeners, on these ports, add to `listeners`, `advertised.listeners` and the protocol map (each with a
/// comma first), and the lines of their own. Clients are told `localhost`: a name, where the others are told an address.
pub(super) fn listeners(host: &str, ports: &[u16], authority: &Authority) -> (String, String, String, String) {
    let each = |text: &dyn Fn(Way, u16) -> String| -> String {
        Way::ALL.iter().zip(ports).map(|(way, port)| format!(",{}", text(*way, *port))).collect()
    };
    let listen = each(&|way, port| format!("{}://{host}:{port}", way.listener()));
    let told = each(&|way, port| format!("{}://localhost:{port}", way.listener()));
    let map = each(&|way, _| format!("{}:{}", way.listener(), if way == Way::Mtls { "SSL" } else { "SASL_SSL" }));
    let mut own = format!(
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS\n\
         ssl.keystore.type=PEM\nssl.keystore.location={store}\nssl.truststore.type=PEM\nssl.truststore.location={ca}\n",
        store = authority.dir.join("broker.store").display(),
        ca = authority.ca().display(),
    );
    Way::ALL.iter().for_each(|way| own.push_str(&way.properties()));
    (listen, told, map, own)
}

/// The arguments of `format` that make the SCRAM user.
pub(super) fn scram_users() -> Vec<String> {
    let user = |way: Way| format!("{}=[name={USER},password={PASSWORD}]", way.mechanism());
    [Way::Scram256, Way::Scram512].into_iter().flat_map(|way| ["--add-scram".to_owned(), user(way)]).collect()
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Makes certificates, in a folder of its own.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes the authority's own certificate, and those of the broker and of [`BEARER`].
    pub fn new(dir: &Path) -> Authority {
        std::fs::create_dir_all(dir).expect("a folder for certificates");
        let key = KeyPair::generate().expect("a key");
        let mut params = named("kmend test authority", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        write(&dir.join("ca.pem"), &params.self_signed(&key).expect("a certificate").pem());
        let authority = Authority { dir: dir.to_owned(), issuer: Issuer::new(params, key) };
        let (chain, key) = authority.issue("broker", &["localhost", "127.0.0.1"]);
        // Kafka reads both from one file.
        write(&dir.join("broker.store"), &(key + &chain));
        authority.pair(dir, BEARER, &[]);
        authority
    }

    /// What clients (and kmend) have to trust.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The client certificate that the broker knows as [`BEARER`].
    pub fn bearer(&self) -> Pair {
        Pair { cert: self.dir.join(format!("{BEARER}.crt")), key: self.dir.join(format!("{BEARER}.key")) }
    }

    /// Keeps a secret in a file of its own.
    pub fn keep(&self, name: &str, secret: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let file = self.dir.join(name);
        write(&file, secret);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a file of ours");
        file
    }

    /// A new certificate with its key, as files `<name>.crt` and `<name>.key` in a folder.
    pub fn pair(&self, dir: &Path, name: &str, hosts: &[&str]) -> Pair {
        let pair = Pair { cert: dir.join(format!("{name}.crt")), key: dir.join(format!("{name}.key")) };
        let (chain, key) = self.issue(name, hosts);
        write(&pair.cert, &chain);
        write(&pair.key, &key);
        pair
    }

    /// A new certificate and its key, as PEM text.
    fn issue(&self, name: &str, hosts: &[&str]) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = named(name, hosts);
        params.use_authority_key_identifier_extension = true;
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }
}

fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a PEM file");
}

/// An unsecured token for `user` that is good for an hour.
pub fn token(user: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let claims = format!(r#"{{"sub":"{user}","iat":{now},"exp":{}}}"#, now + 3_600);
    // Its third part, the signature, is empty.
    format!("{}.{}.", base64_url(br#"{"alg":"none"}"#), base64_url(claims.as_bytes()))
}

fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let three = |chunk: &[u8]| {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        let digit = move |n: usize| DIGITS[(bits >> (18 - 6 * n)) as usize & 63] as char;
        (0..=chunk.len()).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(three).collect()
}
