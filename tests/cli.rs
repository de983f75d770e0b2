//! The binary from outside: exit codes, and the exact words.

#![allow(clippy::unwrap_used)] // A test fails by panicking.

use std::path::Path;
use std::process::{Command, Output};

struct Run {
    command: Command,
}

fn kmend(args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmend"));
    command.args(args).env_clear();
    Run { command }
}

impl Run {
    fn env(mut self, name: &str, text: &str) -> Self {
        self.command.env(name, text);
        self
    }

    fn at(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    fn output(mut self) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}

fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kmend.yaml"), text).unwrap();
    folder
}

const GOOD: &str = "upstream:\n  bootstrap: kafka:9092\n";

#[test]
fn wrong_usage_is_64() {
    for args in [
        &["--bogus"][..],
        &["runn"],
        &["run", "--upstream", "kafka"],
        &["run", "--admin", "a:b"],
        &["completions"],
        &["--config", "a.yaml", "check"],
    ] {
        let (code, stdout, stderr) = kmend(args).output();
        assert_eq!((code, stdout.as_str()), (64, ""), "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
    let (_, _, stderr) = kmend(&["run", "--upstream", "kafka"]).output();
    assert!(stderr.contains("`kafka` has no port: expected host:port"), "{stderr}");
}

#[test]
fn alone_it_says_what_to_do() {
    assert_eq!(
        kmend(&[]).output(),
        (
            64,
            String::new(),
            "error: nothing to run on: give a configuration (kmend --config FILE), \
             or try kmend dev; kmend --help lists everything\n"
                .to_owned()
        )
    );
}

#[test]
fn alone_with_a_configuration_it_runs() {
    // The mistake shows that the configuration was read.
    let expected = (
        78,
        String::new(),
        "error: none.yaml: the file cannot be read: No such file or directory (os error 2)\n".to_owned(),
    );
    let folder = folder("");
    assert_eq!(kmend(&["--config", "none.yaml"]).at(folder.path()).output(), expected);
    assert_eq!(kmend(&["run", "--config", "none.yaml"]).at(folder.path()).output(), expected);
    let (code, _, stderr) = kmend(&[]).env("KMEND_LOG__LEVEL", "info").output();
    assert_eq!(code, 78);
    assert!(stderr.starts_with("error: upstream.bootstrap: no broker"), "{stderr}");
}

#[test]
fn a_good_configuration_is_valid() {
    let folder = folder(GOOD);
    let args = ["check", "--config", "kmend.yaml"];
    let (code, stdout, stderr) = kmend(&args).at(folder.path()).env("KMEND_SERVICE_HOST", "10.0.0.1").output();
    assert_eq!((code, stdout.as_str()), (0, "the configuration is valid\n"));
    assert_eq!(
        stderr,
        "note: ignored KMEND_SERVICE_HOST: Kubernetes sets such variables for a Service of this \
         name (enableServiceLinks: false in the pod turns them off)\n"
    );
}

#[test]
fn mistakes_are_78_and_named() {
    let folder = folder("upstream:\n  bootstrp: kafka:9092\nlimits:\n  idle_timeout: 11\n");
    let args = ["check", "--config", "kmend.yaml", "--set", "log.colour=red"];
    assert_eq!(
        kmend(&args).at(folder.path()).env("KMEND_MENDERS__OFFSET_RESET__MODE", "observ").output(),
        (
            78,
            String::new(),
            "error: kmend.yaml:2:3: upstream.bootstrp: unknown key; \
             did you mean upstream.bootstrap?\n\
             error: --set log.colour: unknown key; valid here: level, format\n\
             error: kmend.yaml:4:17: limits.idle_timeout: `11` has no unit: expected a duration \
             such as 500ms, 5s, 11m or 2h (perhaps 11s)\n\
             error: environment variable KMEND_MENDERS__OFFSET_RESET__MODE: \
             menders.offset_reset.mode: `observ` is not one of repair, observe, off; \
             did you mean observe?\n"
                .to_owned()
        )
    );
}

#[test]
fn an_upstream_that_is_not_there_is_69() {
    let free = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [address, listen, admin] = free.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
    drop(free);
    let home = tempfile::tempdir().unwrap();
    let state = format!("menders.commit_buffer.journal.dir={}", home.path().display());
    let args = ["check", "--connect", "--upstream", &address, "--listen", &listen, "--admin", &admin, "--set", &state];
    let (code, stdout, stderr) = kmend(&args).output();
    assert_eq!(code, 69, "{stderr}");
    let line = format!("{address} refuses the connection: nothing listens on this port\n      to do: ");
    assert!(stdout.contains(&line), "{stdout}");
    assert!(stderr.starts_with("error: 1 step failed"), "{stderr}");
}

#[test]
fn tls_settings_that_cannot_work_are_78() {
    let folder = folder(GOOD);
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    let args =
        ["check", "--connect", "--config", "kmend.yaml", "--set", "upstream.tls={enabled: true, ca_file: empty.pem}"];
    let (code, _, stderr) = kmend(&args).at(folder.path()).output();
    assert_eq!(code, 78);
    assert_eq!(stderr, "error: upstream.tls.ca_file: empty.pem holds no certificate\n");
}

#[test]
fn config_shows_where_each_key_came_from() {
    let folder = folder(GOOD);
    let args = ["config", "--config", "kmend.yaml", "--set", "log.level=debug"];
    let (code, stdout, stderr) = kmend(&args)
        .at(folder.path())
        .env("KMEND_LIMITS__MAX_FRAME", "1MiB")
        .env("KMEND_LIMITS__MAX_WHOLE_FRAME", "1MiB")
        .env("KMEND_UPSTREAM__SASL__USERNAME", "alice")
        .output();
    assert_eq!(code, 0, "{stderr}");
    let find = |key: &str| {
        let line = stdout.lines().find(|line| line.trim().starts_with(key));
        let words: Vec<_> = line.unwrap().split_whitespace().collect();
        words.join(" ")
    };
    assert_eq!(find("bootstrap:"), "bootstrap: [kafka:9092] # kmend.yaml:2:14");
    assert_eq!(find("max_frame:"), "max_frame: 1MiB # environment variable KMEND_LIMITS__MAX_FRAME");
    assert_eq!(find("level:"), "level: debug # --set log.level");
    assert_eq!(find("idle_timeout:"), "idle_timeout: 11m # default");
    assert!(!stdout.contains("alice"), "{stdout}");
}

#[test]
fn half_a_login_is_78_and_all_menders_are_there() {
    fn args(set: &str) -> [&str; 5] {
        ["check", "--upstream", "kafka:9092", "--set", set]
    }
    let (code, _, stderr) = kmend(&args("upstream.sasl.mechanism=PLAIN")).output();
    assert_eq!(code, 78);
    assert!(stderr.contains("upstream.sasl.username: PLAIN needs a user name"), "{stderr}");
    for mender in ["offset_reset", "partition_discovery", "commit_buffer", "assignment_watchdog"] {
        let set = format!("menders.{mender}.mode=repair");
        let (code, _, stderr) = kmend(&args(&set)).output();
        assert_eq!((code, stderr.as_str()), (0, ""), "{mender}");
    }
}

#[test]
fn the_rest_prints_what_it_should() {
    let (code, stdout, _) = kmend(&["--version"]).output();
    assert_eq!(code, 0);
    assert!(stdout.starts_with(concat!("kmend ", env!("CARGO_PKG_VERSION"), " (")));
    let (code, stdout, _) = kmend(&["--help"]).output();
    assert_eq!(code, 0);
    assert!(stdout.contains("78 the configuration is wrong"));
    let (code, stdout, _) = kmend(&["schema"]).output();
    assert_eq!(code, 0);
    assert_eq!(stdout, include_str!("../config/kmend.schema.json"));
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = kmend(&["completions", shell]).output();
        assert!(code == 0 && stdout.contains("kmend"), "{shell}");
    }
    let (code, stdout, _) = kmend(&["man"]).output();
    assert!(code == 0 && stdout.contains(".TH kmend 1"), "{stdout}");
    let (code, _, stderr) = kmend(&["checkpoints", "/none"]).output();
    assert_eq!((code, stderr.as_str()), (69, "error: no folder /none\n"));
}

/// Two promises, written by the first version.
const JOURNAL: &[u8] = include_bytes!("../src/store/journal/tests/version1.journal");

#[test]
fn the_journal_can_be_looked_at() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("127.0.0.1_9092");
    std::fs::create_dir(&state).unwrap();
    let file = state.join("commits.log");
    std::fs::write(&file, JOURNAL).unwrap();
    let inspect = |folder: &Path| kmend(&["journal", "inspect", folder.to_str().unwrap()]);
    let (code, stdout, stderr) = inspect(&state).output();
    assert_eq!((code, stderr.as_str()), (0, ""));
    let (first, rest) = stdout.split_once('\n').unwrap();
    let size = JOURNAL.len();
    assert!(
        first.starts_with(&format!("{}: 2 promises; 4 records, 2 of them dead; {size} bytes, ", file.display())),
        "{first}"
    );
    assert!(rest.starts_with("  1970-01-01T00:00:00Z  group billing  orders[0]  offset 5  broker had unknown  buffered, waits for the member  "), "{rest}");
    assert!(
        rest.contains("member app-1-5f0c (instance pod-0)  epoch 7  client app-1  cluster 4L6g3nShT-eMCtK\n"),
        "{rest}"
    );

    // The folder above, a folder that a kmend has, a damaged file: nothing is changed.
    let _lock = kmend::store::dir::StateDir::open(&state).unwrap();
    let damaged = [&JOURNAL[..20], b"?", &JOURNAL[21..], b"torn"].concat();
    std::fs::write(&file, &damaged).unwrap();
    let (code, stdout, _) = kmend(&["journal", "inspect", "--json", home.path().to_str().unwrap()]).output();
    assert_eq!(code, 0);
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let one = &value["journals"][0];
    assert_eq!((&one["records"], &one["corrupt"]["parts"], &one["torn_bytes"]), (&2.into(), &1.into(), &4.into()));
    let promise = &one["promises"][0];
    assert_eq!((&promise["offset"], &promise["baseline"]), (&62_129_856.into(), &(-1).into()));
    assert_eq!(std::fs::read(&file).unwrap(), damaged);

    // The configured one; `auto` looks where `run` does.
    let set = format!("menders.commit_buffer.journal.dir={}", state.display());
    let (code, stdout, _) = kmend(&["journal", "inspect", "--set", &set]).output();
    assert!(code == 0 && stdout.contains("orders[0]") != stdout.contains("ordérs[3]"), "{stdout}");
    std::fs::create_dir_all(home.path().join("xdg/kmend")).unwrap();
    std::fs::rename(&state, home.path().join("xdg/kmend/here")).unwrap();
    let xdg = home.path().join("xdg");
    let (code, stdout, _) = kmend(&["journal", "inspect"]).env("XDG_STATE_HOME", xdg.to_str().unwrap()).output();
    assert!(code == 0 && stdout.contains("here/commits.log: 1 promise; "), "{stdout}");
}

#[test]
fn a_journal_that_cannot_be_read_is_named() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("commits.log");
    let inspect = || kmend(&["journal", "inspect", home.path().to_str().unwrap()]).output();
    let (code, stdout, stderr) = inspect();
    assert_eq!((code, stdout.as_str(), stderr), (0, "", format!("note: no journal in {}\n", home.path().display())));
    let (code, stdout, _) = kmend(&["journal", "inspect", "--json", home.path().to_str().unwrap()]).output();
    assert_eq!((code, stdout.as_str()), (0, "{\n  \"journals\": []\n}\n"));
    std::fs::write(&file, b"kmend\0\x02\x09").unwrap();
    let newer = format!("error: {} was written by a newer kmend (format 9, this one knows 1)\n", file.display());
    assert_eq!(inspect(), (78, String::new(), newer));
    std::fs::write(&file, "something else").unwrap();
    assert_eq!(inspect(), (78, String::new(), format!("error: {} is not a file of kmend's\n", file.display())));
    let (code, _, stderr) = kmend(&["journal", "inspect", "/none"]).output();
    assert_eq!((code, stderr.as_str()), (78, "error: no folder /none\n"));
    let (code, _, stderr) = kmend(&["journal", "inspect", file.to_str().unwrap()]).output();
    assert_eq!((code, stderr), (78, format!("error: no folder {}\n", file.display())));
    assert_eq!(kmend(&["journal"]).output().0, 64);
}
