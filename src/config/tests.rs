//! Layers, provenance and exact messages, through the front door.

use std::path::PathBuf;

use super::assignment_watchdog::{AssignmentWatchdog, StalledScope, WatchdogScope};
use super::model::Nudge;
use super::model::{Mode, ResetPolicy, TopicRule};
use super::units::{Auto, ByteSize, Duration, HostPort};
use super::{ConfigError, Flags, Loaded, Origin, Sources, load};

/// Sources over files that exist only for one test; their paths are cut to the bare name.
pub(super) struct Case {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), sources: Sources::default() }
    }

    /// A file that also says where the brokers are.
    pub(super) fn good(text: &str) -> Self {
        Self::new().file("kmend.yaml", &format!("upstream: {{ bootstrap: kafka:9092 }}\n{text}"))
    }

    pub(super) fn file(mut self, name: &str, text: &str) -> Self {
        let path: PathBuf = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        self.sources.files.push(path);
        self
    }

    pub(super) fn env(mut self, name: &str, text: &str) -> Self {
        self.sources.env.push((name.to_owned(), text.to_owned()));
        self
    }

    pub(super) fn set(mut self, text: &str) -> Self {
        self.sources.sets.push(text.to_owned());
        self
    }

    fn flags(mut self, flags: Flags) -> Self {
        self.sources.flags = flags;
        self
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.sources)
    }

    pub(super) fn ok(&self) -> Loaded {
        self.load().unwrap()
    }

    pub(super) fn error(&self) -> String {
        let folder = format!("{}/", self.dir.path().display());
        self.load().unwrap_err().to_string().replace(&folder, "")
    }

    fn origin(&self, key: &str) -> String {
        let folder = format!("{}/", self.dir.path().display());
        let origin = self.ok().provenance.of_key(key);
        origin.to_string().replace(&folder, "")
    }
}

#[test]
fn each_layer_wins_over_the_ones_below() {
    let mut case = Case::good("log:\n  level: warn\n")
        .file("second.yaml", "log: {level: error}\nlimits: {max_frame: 1MiB, max_whole_frame: 1MiB}\n");
    assert_eq!(case.ok().config.log.level, "error");
    assert_eq!(case.origin("log.level"), "second.yaml:1:14");
    case = case.env("KMEND_LOG__LEVEL", "debug");
    assert_eq!(case.ok().config.log.level, "debug");
    assert_eq!(case.origin("log.level"), "environment variable KMEND_LOG__LEVEL");
    case = case.set("log.level=trace");
    assert_eq!(case.ok().config.log.level, "trace");
    assert_eq!(case.origin("log.level"), "--set log.level");
    assert_eq!(case.origin("limits.max_frame"), "second.yaml:2:21");
    assert_eq!(case.origin("limits.idle_timeout"), "default");
    assert_eq!(case.ok().config.limits.max_frame, ByteSize::mib(1));
    case = case.set("upstream.bootstrap=a:1").set("admin.address=127.0.0.1:1").flags(Flags {
        upstream: vec![HostPort::new("b", 2)],
        listen: vec![HostPort::new("::1", 3)],
        admin: Some(HostPort::new("::1", 4)),
    });
    let loaded = case.ok();
    assert_eq!(loaded.config.upstream.bootstrap, [HostPort::new("b", 2)]);
    assert_eq!(loaded.config.listen.address, [HostPort::new("::1", 3)]);
    assert_eq!(loaded.config.admin.address, HostPort::new("::1", 4));
    assert_eq!(loaded.provenance.of_key("listen.address"), Origin::Flag("--listen".into()));
}

#[test]
fn the_whole_documented_configuration_is_read() {
    let text = include_str!("../../config/kmend.example.yaml");
    let loaded = Case::new().file("kmend.yaml", text).ok();
    assert_eq!(loaded.notes, Vec::<String>::new());
    let menders = loaded.config.menders;
    assert_eq!(menders.partition_discovery.nudge, Auto::Auto);
    assert_eq!(menders.assignment_watchdog, AssignmentWatchdog::default());

    let later = "menders:
  partition_discovery: { mode: repair, interval: 5s, nudge: reject }
  commit_buffer: { mode: observe, groups: { 'a*': { unknown_member: pass }, b: { mode: off } },
                   write_behind: { enabled: true }, delivered: { enabled: true, unsafe: true },
                   journal: { dir: /tmp, max_bytes: 1MiB, sync: always } }
  assignment_watchdog: { mode: observe, after: 5s, scope: any, stalled_after: 7s, stalled_scope: any,
                         topics: { a: { mode: off } }, clients: { 'c*': { mode: repair } },
                         groups: { g: { mode: repair }, h: { scope: protocol_switch }, i: {} } }
";
    let loaded = Case::good(later).ok();
    assert_eq!(loaded.notes, Vec::<String>::new());
    let nudge = loaded.config.menders.partition_discovery.nudge;
    assert_eq!(nudge, Auto::Set(Nudge::Reject));
    let watchdog = loaded.config.menders.assignment_watchdog;
    assert_eq!((watchdog.mode, watchdog.scope), (Mode::Observe, WatchdogScope::Any));
    assert_eq!((watchdog.after, watchdog.stalled_after), (Duration::from_secs(5), Duration::from_secs(7)));
    assert_eq!(watchdog.stalled_scope, StalledScope::Any);
    assert_eq!((watchdog.topics["a"].mode, watchdog.clients["c*"].mode), (Mode::Off, Mode::Repair));
    let of_groups: Vec<_> = watchdog.groups.values().map(|rule| (rule.mode, rule.scope)).collect();
    assert_eq!(of_groups, [(Some(Mode::Repair), None), (None, Some(WatchdogScope::ProtocolSwitch)), (None, None)]);
}

#[test]
fn who_does_not_consume_is_watched_unless_somebody_says_otherwise() {
    let watchdog = |case: Case| case.ok().config.menders.assignment_watchdog;
    let default = watchdog(Case::good(""));
    assert_eq!((default.mode, default.scope), (Mode::Repair, WatchdogScope::ProtocolSwitch));
    assert_eq!((default.after, default.stalled_after), (Duration::from_secs(30), Duration::from_secs(60)));
    assert_eq!(default.stalled_scope, StalledScope::AfterError);
    let case = Case::good("menders: { assignment_watchdog: { after: 10s } }\n");
    assert_eq!(watchdog(case).mode, Mode::Repair);
    let case = Case::good("").env("KMEND_MENDERS__ASSIGNMENT_WATCHDOG__MODE", "off");
    assert_eq!(watchdog(case).mode, Mode::Off);
    let case = Case::good("").set("menders.assignment_watchdog.groups.orders.eu={scope: any}");
    assert_eq!(watchdog(case).groups["orders.eu"].scope, Some(WatchdogScope::Any));
    let dev = load(&Sources { dev: true, ..Sources::default() }).unwrap();
    assert_eq!(dev.provenance.of_key("menders.assignment_watchdog.mode"), Origin::Dev);
    assert_eq!(dev.config.menders.assignment_watchdog.mode, Mode::Repair);
    let sets = vec!["menders.assignment_watchdog.mode=off".to_owned()];
    let off = load(&Sources { dev: true, sets, ..Sources::default() }).unwrap();
    assert_eq!(off.config.menders.assignment_watchdog.mode, Mode::Off);
}

#[test]
fn mistakes_about_the_watchdog_name_what_would_be_right() {
    let key = "menders.assignment_watchdog";
    for (text, column, expected) in [
        ("scope: protocol", 42, ".scope: `protocol` is not one of protocol_switch, any"),
        (
            "stalled_scope: after_eror",
            50,
            ".stalled_scope: `after_eror` is not one of after_error, any; did you mean after_error?",
        ),
        ("stale_after: 60s", 35, ".stale_after: unknown key; did you mean menders.assignment_watchdog.stalled_after?"),
        (
            "groups: { g: { scop: any } }",
            50,
            ".groups.g.scop: unknown key; did you mean menders.assignment_watchdog.groups.g.scope?",
        ),
        ("groups: { g: any }", 48, ".groups.g: expected a map with the keys mode, scope"),
        ("after: 30", 42, ".after: `30` has no unit: expected a duration such as 500ms, 5s, 11m or 2h (perhaps 30s)"),
        ("after: 0s", 42, ".after: 0s is no time at all: expected more"),
        ("stalled_after: 0ms", 50, ".stalled_after: 0s is no time at all: expected more"),
        (
            "groups: { 'g[': { scope: any } }",
            60,
            ".groups.g[: not a pattern: unclosed character class; missing ']' (`*` stands for any text)",
        ),
        ("topics: { t: {} }", 48, ".topics.t: needs the key `mode`"),
    ] {
        let said = said(&format!("menders: {{ assignment_watchdog: {{ {text} }} }}\n"));
        assert_eq!(said, format!("kmend.yaml:2:{column}: {key}{expected}"));
    }
}

#[test]
fn one_string_or_a_list() {
    for text in [
        "upstream: { bootstrap: 'a:1,b:2' }\n",
        "upstream: { bootstrap: ['a:1', 'b:2'] }\n",
        "upstream:\n  bootstrap:\n  - a:1\n  - b:2\n",
    ] {
        let loaded = Case::new().file("kmend.yaml", text).ok();
        let expected = [HostPort::new("a", 1), HostPort::new("b", 2)];
        assert_eq!(loaded.config.upstream.bootstrap, expected);
    }
}

#[test]
fn lists_and_maps_from_the_environment() {
    let loaded = Case::new()
        .env("KMEND_UPSTREAM__BOOTSTRAP", "a:1,[::1]:2")
        .env("KMEND_LISTEN__ADDRESS", "['127.0.0.1:3', '[::1]:3']")
        .env("KMEND_LISTEN__BROKER_PORTS", "9500")
        .env("KMEND_UPSTREAM__TLS__CA_FILE", "null")
        .env("KMEND_ADMIN__READY_REQUIRES_UPSTREAM", "true")
        .env("KMEND_MENDERS__OFFSET_RESET__TOPICS", "a.b:latest,c*:nearest")
        .env("KMEND_MENDERS__OFFSET_RESET__TOPICS__Upper", "{mode: off}")
        .env("KMEND_MENDERS__OFFSET_RESET__GROUPS", "billing: {mode: observe}")
        .env("KMEND_LIMITS", "{max_connections: 7, idle_timeout: 90s}")
        .ok();
    let config = loaded.config;
    assert_eq!(config.upstream.bootstrap[1], HostPort::new("::1", 2));
    assert_eq!(config.listen.address.len(), 2);
    assert_eq!(config.listen.broker_ports, Auto::Set(9500));
    assert!(config.admin.ready_requires_upstream);
    let reset = config.menders.offset_reset;
    assert_eq!(reset.topics["a.b"], TopicRule::Policy(ResetPolicy::Latest));
    assert!(matches!(&reset.topics["Upper"], TopicRule::Full(rule) if rule.mode == Some(Mode::Off)));
    assert_eq!(reset.topics.len(), 3);
    assert_eq!(reset.groups["billing"].mode, Mode::Observe);
    assert_eq!(config.limits.max_connections, Auto::Set(7));
    assert_eq!(config.limits.idle_timeout, Duration::from_secs(90));
}

#[test]
fn service_links_are_ignored_with_one_note() {
    let loaded = Case::good("")
        .env("KMEND_PORT", "tcp://10.0.0.1:9092")
        .env("KMEND_PORT_9092_TCP", "tcp://10.0.0.1:9092")
        .env("KMEND_SERVICE_HOST", "10.0.0.1")
        .ok();
    assert_eq!(
        loaded.notes,
        ["ignored KMEND_PORT, KMEND_PORT_9092_TCP, KMEND_SERVICE_HOST: Kubernetes sets such \
          variables for a Service of this name (enableServiceLinks: false in the pod turns them off)"]
    );
}

#[test]
fn a_set_may_name_a_topic_with_dots() {
    let loaded = Case::good("")
        .set("menders.offset_reset.topics.orders.eu=latest")
        .set("menders.offset_reset.topics.orders.us.mode=off")
        .ok();
    let topics = loaded.config.menders.offset_reset.topics;
    assert_eq!(topics.keys().collect::<Vec<_>>(), ["orders.eu", "orders.us"]);
}

/// Text below the upstream's line, and what is said about it.
fn said(text: &str) -> String {
    Case::good(text).error()
}

#[test]
fn unknown_keys_name_the_nearest() {
    assert_eq!(
        said("listen:\n  adress: localhost:9092\n"),
        "kmend.yaml:3:3: listen.adress: unknown key; did you mean listen.address?"
    );
    assert_eq!(
        said("offset_reset: { mode: off }\n"),
        "kmend.yaml:2:1: offset_reset: unknown key; did you mean menders.offset_reset?"
    );
    assert_eq!(
        said("limits: { colour: red }\n"),
        "kmend.yaml:2:11: limits.colour: unknown key; valid here: max_connections, max_frame, \
         max_whole_frame, memory, handshake_timeout, progress_timeout, idle_timeout"
    );
    assert_eq!(
        said("menders: { offset_reset: { topics: { a.b: { polcy: latest } } } }\n"),
        "kmend.yaml:2:45: menders.offset_reset.topics.\"a.b\".polcy: unknown key; \
         did you mean menders.offset_reset.topics.\"a.b\".policy?"
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    assert_eq!(
        said("listen: { adress: a:1 }\nmenders: { offset_reset: { mode: of } }\nlog: { level: 5 }\n"),
        "kmend.yaml:2:11: listen.adress: unknown key; did you mean listen.address?\n\
         kmend.yaml:3:34: menders.offset_reset.mode: `of` is not one of repair, observe, off; \
         did you mean off?\n\
         kmend.yaml:4:15: log.level: found unsigned int `5`, expected a string"
    );
}

#[test]
fn wrong_values_say_what_would_be_valid() {
    for (text, expected) in [
        (
            "listen: { address: 9092 }\n",
            "kmend.yaml:2:20: listen.address: found unsigned int `9092`, \
             expected host:port, or a list of them",
        ),
        (
            "listen:\n  address:\n  - a:1\n  - b\n",
            "kmend.yaml:5:5: listen.address: `b` has no port: expected host:port \
             (an IPv6 address in brackets: [::1]:9092)",
        ),
        (
            "limits: { idle_timeout: 10 }\n",
            "kmend.yaml:2:25: limits.idle_timeout: `10` has no unit: expected a duration such as \
             500ms, 5s, 11m or 2h (perhaps 10s)",
        ),
        (
            "limits: { memory: lots }\n",
            "kmend.yaml:2:19: limits.memory: `lots` is not a size such as 16KiB, 100MiB or 1GiB, \
             or `auto`",
        ),
        (
            "admin: { ready_requires_upstream: yes }\n",
            "kmend.yaml:2:35: admin.ready_requires_upstream: found string \"yes\", \
             expected true or false",
        ),
        ("upstream: 5\n", "kmend.yaml:2:1: not valid YAML: duplicate mapping key: upstream"),
        ("log: info\n", "kmend.yaml:2:6: log: expected a map with the keys level, format"),
        (
            "log: { format: xml }\n",
            "kmend.yaml:2:16: log.format: unknown variant `xml`, expected `text` or `json`, \
             or `auto`",
        ),
        (
            "menders: { offset_reset: { topics: { a: latst } } }\n",
            "kmend.yaml:2:41: menders.offset_reset.topics.a: `latst` is not one of earliest, \
             latest, nearest, passthrough; did you mean latest?",
        ),
        (
            "menders: { offset_reset: { groups: { a: {} } } }\n",
            "kmend.yaml:2:41: menders.offset_reset.groups.a: needs the key `mode`",
        ),
        ("menders: { offset_reset: { mode: } }\n", "kmend.yaml:2:32: menders.offset_reset.mode: has no value"),
    ] {
        assert_eq!(said(text), expected);
    }
}

#[test]
fn variables_and_flags_are_named() {
    let error = |case: Case| case.error();
    assert_eq!(
        error(Case::good("").env("KMEND_UPSTREAM_BOOTSTRAP", "a:1")),
        "environment variable KMEND_UPSTREAM_BOOTSTRAP: no key is called so; \
         did you mean KMEND_UPSTREAM__BOOTSTRAP?"
    );
    assert_eq!(
        error(Case::good("").env("KMEND_LOG__LEVLE", "info")),
        "environment variable KMEND_LOG__LEVLE: no key is called so; \
         did you mean KMEND_LOG__LEVEL?"
    );
    assert_eq!(
        error(Case::good("").env("KMEND_MENDERS__OFFSET_RESET__MODE", "on")),
        "environment variable KMEND_MENDERS__OFFSET_RESET__MODE: menders.offset_reset.mode: \
         `on` is not one of repair, observe, off"
    );
    assert_eq!(error(Case::good("").set("log.levle=info")), "--set log.levle: unknown key; did you mean log.level?");
    assert_eq!(error(Case::good("").set("log.level")), "--set log.level: expected key=value, such as log.level=debug");
    assert_eq!(
        error(Case::good("").set("upstream.tls.enabled=ja")),
        "--set upstream.tls.enabled: found string \"ja\", \
         expected true or false"
    );
}

#[test]
fn a_file_that_is_not_there() {
    let mut case = Case::new();
    case.sources.files.push(case.dir.path().join("none.yaml"));
    assert_eq!(case.error(), "none.yaml: the file cannot be read: No such file or directory (os error 2)");
}

#[test]
fn values_that_make_no_sense_together() {
    assert_eq!(
        Case::new().error(),
        "upstream.bootstrap: no broker to start from: set upstream.bootstrap in a file, \
         KMEND_UPSTREAM__BOOTSTRAP=host:port in the environment, or --upstream host:port"
    );
    for (text, expected) in [
        (
            "admin: { address: localhost:9092 }\n",
            "kmend.yaml:2:19: admin.address: localhost:9092 is taken by listen.address \
             127.0.0.1:9092: choose another port",
        ),
        (
            "listen: { broker_ports: 9000 }\n",
            "kmend.yaml:2:25: listen.broker_ports: the broker ports 9000 to 9199 contain the port \
             of listen.address 127.0.0.1:9092: choose another first port",
        ),
        (
            "listen: { address: kafka:9092 }\n",
            "kmend.yaml:1:24: upstream.bootstrap: kafka:9092 is where kmend itself listens \
             (listen.address kafka:9092): it would connect to itself; choose another listen port, \
             such as 19092",
        ),
        (
            "listen: { tls: { enabled: true } }\n",
            "listen.tls.cert_file: clients are shown a certificate: TLS needs cert_file and key_file\n\
             listen.tls.key_file: clients are shown a certificate: TLS needs cert_file and key_file",
        ),
        (
            "listen: { tls: { enabled: true, cert_file: /none.pem, key_file: /tmp } }\n",
            "kmend.yaml:2:44: listen.tls.cert_file: /none.pem cannot be read: \
             No such file or directory (os error 2)\n\
             kmend.yaml:2:65: listen.tls.key_file: /tmp is a folder, expected a PEM file",
        ),
        (
            "limits: { handshake_timeout: 0s }\n",
            "kmend.yaml:2:30: limits.handshake_timeout: 0s is no time at all: expected more",
        ),
        (
            "menders: { offset_reset: { topics: { 'a[': latest } } }\n",
            "kmend.yaml:2:44: menders.offset_reset.topics.a[: not a pattern: unclosed character \
             class; missing ']' (`*` stands for any text)",
        ),
        (
            "limits: { max_whole_frame: 1KiB }\n",
            "kmend.yaml:2:28: limits.max_whole_frame: 1KiB: expected 64KiB or more, and at most \
             limits.max_frame (100MiB)",
        ),
        (
            "log: { level: 'kmend=loud' }\n",
            "kmend.yaml:2:15: log.level: `kmend=loud` is not a filter such as `info` or \
             `info,kmend::session=debug`",
        ),
    ] {
        assert_eq!(said(text), expected);
    }
    assert_eq!(
        Case::good("").set("upstream.tls.enabled=true").set("upstream.tls.cert_file=/none.pem").error(),
        "--set upstream.tls.cert_file: a client certificate needs its \
         key: set upstream.tls.key_file too\n\
         --set upstream.tls.cert_file: /none.pem cannot be read: \
         No such file or directory (os error 2)"
    );
}

#[test]
fn dev_needs_no_file_and_steps_aside() {
    let dev = |upstream: &[&str]| {
        let sources = Sources {
            dev: true,
            flags: Flags { upstream: upstream.iter().map(|text| text.parse().unwrap()).collect(), ..Flags::default() },
            ..Sources::default()
        };
        let config = load(&sources).unwrap().config;
        (config.upstream.bootstrap[0].to_string(), config.listen.address[0].to_string())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(dev(&[]), pair("localhost:9092", "127.0.0.1:19092"));
    assert_eq!(dev(&["127.0.0.1:9092"]), pair("127.0.0.1:9092", "127.0.0.1:19092"));
    assert_eq!(dev(&["kafka:9092"]), pair("kafka:9092", "127.0.0.1:9092"));
    assert_eq!(dev(&["localhost:29092"]), pair("localhost:29092", "127.0.0.1:9092"));
}

#[test]
fn dev_keeps_commits_and_can_be_told_not_to() {
    let dev = |sets: &[&str]| {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        let loaded = load(&Sources { dev: true, sets, ..Sources::default() }).unwrap();
        assert_eq!(loaded.provenance.of_key("menders.commit_buffer.delivered.enabled"), Origin::Dev);
        let buffer = loaded.config.menders.commit_buffer;
        (buffer.mode, buffer.write_behind.enabled, buffer.delivered.enabled, buffer.delivered.unmeasured)
    };
    assert_eq!(dev(&[]), (Mode::Repair, true, true, false));
    let off = dev(&["menders.commit_buffer.write_behind.enabled=false", "menders.commit_buffer.mode=off"]);
    assert_eq!(off, (Mode::Off, false, true, false));
}

#[test]
fn commits_are_mended_unless_somebody_says_otherwise() {
    let buffer = Case::good("").ok().config.menders.commit_buffer;
    assert_eq!(buffer.mode, Mode::Repair);
    assert_eq!((buffer.write_behind.enabled, buffer.delivered.enabled), (false, false));
    // Above the file that only turns the other parts on.
    let case = Case::good("menders: { commit_buffer: { write_behind: { enabled: true } } }\n");
    assert_eq!(case.ok().config.menders.commit_buffer.mode, Mode::Repair);
}
