//! TLS, before the listeners of a real broker: one for each login, one for client certificates, and one whose certificate
//! has expired.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::harness::secured::{Authority, Pair};
use crate::harness::{ClusterSpec, Kafka, Way, slot};
use crate::kit::Check;
use crate::script::{Script, write};

const DAY: u64 = 86_400;
/// 2020-01-01, 2024-02-29 and 2090-01-01.
pub const OF_2020: u64 = 1_577_836_800;
pub const OF_2024: u64 = 1_709_164_800;
pub const OF_2090: u64 = 3_786_912_000;

pub struct Secured {
    pub kafka: Kafka,
    office: Office,
}

pub fn secured() -> &'static Secured {
    static SHARED: OnceLock<Secured> = OnceLock::new();
    SHARED.get_or_init(|| {
        let office = Office::new();
        let pair = office.issue("expired", &["127.0.0.1", "localhost"], OF_2020, OF_2024);
        // One file for Java: the key, then the certificate.
        let store = office.file("expired.store");
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        write(&store, &(text(&pair.key) + &text(&pair.cert)));
        let map = "INNER:PLAINTEXT,CONTROLLER:PLAINTEXT,PLAIN:SASL_SSL,SCRAM256:SASL_SSL,SCRAM512:SASL_SSL,OAUTH:SASL_SSL,MTLS:SSL";
        let extra = vec![
            format!("listener.security.protocol.map=CLIENT:SSL,{map}"),
            "listener.name.client.ssl.keystore.type=PEM".to_owned(),
            format!("listener.name.client.ssl.keystore.location={}", store.display()),
        ];
        Secured { kafka: Kafka::start(ClusterSpec { secured: true, extra, ..ClusterSpec::default() }), office }
    })
}

/// The one listener without TLS and without a login.
pub fn inner() -> String {
    format!("127.0.0.1:{}", secured().kafka.all_ports()[1])
}

/// Issues certificates of any time.
pub struct Office {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Office {
    pub fn new() -> Office {
        let dir = tempfile::Builder::new().prefix("kmend-office-").tempdir().unwrap();
        crate::harness::reaper::remove_at_end(dir.path());
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the office");
        write(&dir.path().join("ca.pem"), &params.self_signed(&key).unwrap().pem());
        Office { issuer: Issuer::new(params, key), dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn ca(&self) -> String {
        self.file("ca.pem").display().to_string()
    }

    /// Valid from one second since 1970 to another.
    pub fn issue(&self, name: &str, hosts: &[&str], from: u64, until: u64) -> Pair {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let time = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        (params.not_before, params.not_after) = (time(from), time(until));
        let key = KeyPair::generate().unwrap();
        let pair = Pair { cert: self.file(&format!("{name}.crt")), key: self.file(&format!("{name}.key")) };
        write(&pair.cert, &params.signed_by(&key, &self.issuer).unwrap().pem());
        write(&pair.key, &key.serialize_pem());
        pair
    }
}

/// Over TLS, before one listener.
fn tls(way: Way) -> Check {
    let ca = secured().kafka.authority().ca().display().to_string();
    Check::new(&secured().kafka.by(way)).set("upstream.tls.enabled", true).set("upstream.tls.ca_file", ca)
}

fn with(check: Check, pair: &Pair) -> Check {
    let file = |path: &Path| path.display().to_string();
    check.set("upstream.tls.cert_file", file(&pair.cert)).set("upstream.tls.key_file", file(&pair.key))
}

const HELLO: [&str; 3] = ["bootstrap tcp", "bootstrap tls", "bootstrap protocol"];

#[test]
fn a_good_session_with_a_client_certificate() {
    let _slot = slot();
    let found = with(tls(Way::Mtls), &secured().kafka.authority().bearer()).run();
    found.faultless().good(&HELLO).good(&[
        "kmend upstream.tls",
        "kmend upstream.tls.cert_file",
        "broker dns",
        "broker tls",
        "broker protocol",
    ]);
    // Carol may not describe the cluster: what cannot be told is no fault.
    found.skips("broker identity", "DESCRIBE_CONFIGS");
    assert!(found.table.contains("CN=broker for localhost, 127.0.0.1, valid until"), "{}", found.table);
    assert!(found.table.contains("trusted besides the system's authorities: CN=kmend test authority"));
}

#[test]
fn plaintext_before_a_tls_broker() {
    let _slot = slot();
    for way in [Way::Mtls, Way::Plain] {
        let found = Check::new(&secured().kafka.by(way)).run();
        let says = ["the broker speaks TLS on this port, and upstream.tls.enabled is false"];
        found.only_fault(69, "bootstrap tls", "tls_broker", &says, &["upstream.tls.enabled: true", "ca_file"]);
        found.good(&["bootstrap tcp"]);
    }
}

#[test]
fn the_certificate_of_another_authority() {
    let _slot = slot();
    let found = tls(Way::Plain).set("upstream.tls.ca_file", secured().office.ca()).run();
    let says = ["CN=broker", "signed by CN=kmend test authority, which is not trusted", "CN=the office"];
    found.only_fault(69, "bootstrap tls", "tls_unknown_issuer", &says, &["upstream.tls.ca_file"]);
    found.good(&["kmend upstream.tls", "bootstrap tcp"]);
    let found = tls(Way::Plain).set("upstream.tls.ca_file", serde_json::Value::Null).run();
    let says = ["signed by CN=kmend test authority", "only the system's authorities are"];
    found.only_fault(69, "bootstrap tls", "tls_unknown_issuer", &says, &["upstream.tls.ca_file"]);
    let dir = tempfile::tempdir().unwrap();
    let namesake = Authority::new(dir.path()).ca().display().to_string();
    let found = tls(Way::Plain).set("upstream.tls.ca_file", namesake).run();
    let says = ["signed by CN=kmend test authority", "of the same name but with another key"];
    found.only_fault(69, "bootstrap tls", "tls_unknown_issuer", &says, &["upstream.tls.ca_file"]);
}

#[test]
fn another_name() {
    let _slot = slot();
    let found = tls(Way::Plain).set("upstream.tls.server_name", "kafka.example").run();
    let says = ["holds localhost, 127.0.0.1, not kafka.example"];
    found.only_fault(69, "bootstrap tls", "tls_name", &says, &["upstream.tls.server_name"]);
    found.good(&["bootstrap tcp"]);
}

#[test]
fn an_expired_certificate() {
    let _slot = slot();
    let check = Check::new(&secured().kafka.bootstrap()).set("upstream.tls.enabled", true);
    let found = check.set("upstream.tls.ca_file", secured().office.ca()).run();
    let says = ["CN=expired", "has expired since 2024-02-29T00:00:00Z", "this host's clock says 2"];
    found.only_fault(69, "bootstrap tls", "tls_expired", &says, &["renew it on the broker", "clock"]);
    found.good(&["bootstrap tcp"]);
}

#[test]
fn a_certificate_of_tomorrow() {
    let office = Office::new();
    let pair = office.issue("early", &["127.0.0.1"], OF_2090, OF_2090 + 100 * DAY);
    let port = Script::brokers(&[(1, "127.0.0.1", 0)]).serve_tls(&pair);
    let check = Check::new(&[format!("127.0.0.1:{port}")]).set("upstream.tls.enabled", true);
    let found = check.set("upstream.tls.ca_file", office.ca()).run();
    let says = ["CN=early", "is not valid before 2090-01-01T00:00:00Z", "this host's clock says"];
    found.only_fault(69, "bootstrap tls", "tls_not_yet_valid", &says, &["clock", "slow"]);
}

#[test]
fn a_certificate_that_ends_soon() {
    let office = Office::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let port = Script::brokers(&[(1, "127.0.0.1", 0)]).serve_tls(&office.issue(
        "ending",
        &["127.0.0.1"],
        OF_2020,
        now + 7 * DAY + 60,
    ));
    let check = Check::new(&[format!("127.0.0.1:{port}")]).set("upstream.tls.enabled", true);
    let found = check.set("upstream.tls.ca_file", office.ca()).run();
    // At the bootstrap address and at the broker, which are one.
    assert_eq!(found.code, 0);
    assert_eq!(found.table.matches("warn  ").count(), 2, "{}", found.table);
    assert!(found.table.contains("the certificate CN=ending expires in 7 days, on "), "{}", found.table);
    assert!(found.table.contains("to do: renew it on the broker before that"), "{}", found.table);
    found.good(&["bootstrap protocol", "bootstrap metadata", "broker identity"]);
    assert!(found.table.ends_with("no fault found, 2 warnings\n"));
}

#[test]
fn no_client_certificate_where_one_is_wanted() {
    let _slot = slot();
    let found = tls(Way::Mtls).run();
    let says = ["wants a client certificate of CN=kmend test authority, and none is configured"];
    let todo = ["upstream.tls.cert_file and upstream.tls.key_file"];
    found.only_fault(69, "bootstrap tls", "tls_client_certificate_missing", &says, &todo);
    found.good(&["bootstrap tcp"]);
}

#[test]
fn client_certificates_before_a_broker_with_tls_1_2() {
    let office = Office::new();
    let [broker, known] = ["broker12", "known"].map(|name| office.issue(name, &["127.0.0.1"], OF_2020, OF_2090));
    let elsewhere = Office::new();
    let stranger = elsewhere.issue("stranger", &[], OF_2020, OF_2090);
    let ca = office.file("ca.pem");
    let port = Script::brokers(&[(1, "127.0.0.1", 0)]).serve_tls12(&broker, &ca);
    let check = || {
        let check = Check::new(&[format!("127.0.0.1:{port}")]).set("upstream.tls.enabled", true);
        check.set("upstream.tls.ca_file", office.ca())
    };
    let found = with(check(), &known).run();
    found.faultless().good(&HELLO);
    assert!(found.table.contains("TLS 1.2, CN=broker12"), "{}", found.table);
    let found = check().run();
    let says = ["wants a client certificate of CN=the office, and none is configured"];
    found.only_fault(69, "bootstrap tls", "tls_client_certificate_missing", &says, &["upstream.tls.cert_file"]);
    let found = with(check(), &stranger).run();
    let says = ["refuses kmend's certificate (CN=stranger, signed by CN=the office"];
    found.only_fault(69, "bootstrap tls", "tls_client_certificate_refused", &says, &["ssl.truststore"]);
}

#[test]
fn a_client_certificate_that_the_broker_does_not_take() {
    let _slot = slot();
    let dir = tempfile::tempdir().unwrap();
    let other = Authority::new(dir.path());
    let pair = other.pair(dir.path(), "mallory", &[]);
    let found = with(tls(Way::Mtls), &pair).run();
    let says = ["the broker refuses kmend's certificate (CN=mallory, signed by CN=kmend test authority", "another key"];
    let todo = ["upstream.tls.cert_file issued by an authority in the broker's ssl.truststore"];
    found.only_fault(69, "bootstrap tls", "tls_client_certificate_refused", &says, &todo);
    found.good(&["kmend upstream.tls.cert_file", "bootstrap tcp"]);
}

#[test]
fn a_certificate_of_kmends_own_that_has_expired() {
    let _slot = slot();
    let pair = secured().office.issue("stale", &[], OF_2020, OF_2024);
    let found = with(tls(Way::Mtls), &pair).run();
    assert_eq!(found.code, 78, "what is ours counts first: {}", found.table);
    let fails: Vec<_> = found.table.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(fails[0].contains("upstream.tls.cert_file") && fails[0].contains("CN=stale has expired since 2024-02-29"));
    assert!(fails[1].contains("the broker refuses kmend's certificate (CN=stale"), "{}", fails[1]);
}

#[test]
fn files_that_cannot_be_used() {
    let check = Check::new(&["127.0.0.1:1"]);
    let folder = check.dir.path().to_owned();
    let file = |name: &str| folder.join(name).display().to_string();
    let office = Office::new();
    let [one, two] = ["one", "two"].map(|name| office.issue(name, &[], OF_2020, OF_2090));
    write(&folder.join("no.pem"), "this is not PEM");
    let of = |ca: String, cert: &Path, key: &Path| {
        let check = Check::new(&["127.0.0.1:1"]).set("upstream.tls.enabled", true).set("upstream.tls.ca_file", ca);
        with(check, &Pair { cert: cert.to_owned(), key: key.to_owned() })
    };
    let cases = [
        (of(file("no.pem"), &one.cert, &one.key), "tls_file", "no.pem holds no certificate", "PEM block"),
        (of(file("gone.pem"), &one.cert, &one.key), "configuration", "gone.pem", "docs/configuration.md"),
        (of(office.ca(), &one.cert, &two.key), "tls_pair", "they cannot be used together", "was issued for"),
        (of(office.ca(), &one.cert, &one.cert), "tls_file", "holds no private key", "PRIVATE KEY"),
    ];
    for (check, fault, says, todo) in cases {
        let output = check.command(true).output().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let step = &value["steps"][0];
        assert_eq!((output.status.code(), &value["exit_code"]), (Some(78), &78.into()), "{value}");
        assert_eq!(
            (&step["verdict"], &step["step"], &step["fault"]),
            (&"fail".into(), &"configuration".into(), &fault.into()),
            "{value}"
        );
        let has = |key: &str, part: &str| step[key].as_str().is_some_and(|text| text.contains(part));
        assert!(has("says", says) && has("todo", todo), "{value}");
        let output = check.command(false).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(78) && errors.starts_with("error: ") && errors.contains(says), "{errors}");
    }
}
