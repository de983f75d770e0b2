//! One check: a configuration, run once for people and once for scripts, and what has to be in both.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{kmend::binary, ports};

/// A check that is to be run. Everything around the brokers is in order: ports, folder, admin server.
pub struct Check {
    pub config: Value,
    pub dir: tempfile::TempDir,
    prefix: Vec<String>,
}

impl Check {
    pub fn new<T: ToString>(bootstrap: &[T]) -> Check {
        let dir = tempfile::Builder::new().prefix("kmend-check-").tempdir().unwrap();
        crate::harness::reaper::remove_at_end(dir.path());
        let bootstrap: Vec<String> = bootstrap.iter().map(ToString::to_string).collect();
        let config = json!({
            // A broker's first sessions take their time on a busy machine.
            "upstream": { "bootstrap": bootstrap, "connect_timeout": "20s" },
            "listen": { "address": [format!("127.0.0.1:{}", ports::range(24))] },
            "admin": { "address": format!("127.0.0.1:{}", ports::free()) },
            "menders": { "commit_buffer": { "journal": { "dir": dir.path().join("state") } } },
        });
        Check { config, dir, prefix: Vec::new() }
    }

    /// Puts a value at a dotted key.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Check {
        let mut at = &mut self.config;
        for part in key.split('.') {
            at = &mut at[part];
        }
        *at = value.into();
        self
    }

    /// What takes its time here is a fault.
    pub fn hasty(self) -> Check {
        self.set("upstream.connect_timeout", "1500ms")
    }

    pub fn behind(mut self, prefix: &[&str]) -> Check {
        self.prefix = prefix.iter().map(ToString::to_string).collect();
        self
    }

    pub fn command(&self, json: bool) -> Command {
        let file = self.dir.path().join("kmend.yaml");
        std::fs::write(&file, self.config.to_string()).unwrap();
        let own = [binary(), "check".into(), "--connect".into(), "--config".into(), file.display().to_string()];
        let mut all = self.prefix.iter().cloned().chain(own).chain(json.then(|| "--json".to_owned()));
        let mut command = Command::new(all.next().unwrap());
        command.args(all).env_remove("NO_COLOR");
        command
    }

    #[track_caller]
    pub fn run(&self) -> Found {
        let (text, json) = std::thread::scope(|s| {
            let text = s.spawn(|| self.command(false).output().unwrap());
            (text.join().unwrap(), self.command(true).output().unwrap())
        });
        let words = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let Output { status, stdout, stderr } = text;
        let (code, table, errors) = (status.code().unwrap(), words(&stdout), words(&stderr));
        let told = words(&json.stdout);
        println!("{table}{errors}");
        let value: Value = serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}"));
        assert_eq!(json.status.code(), Some(code), "both say the same: {told}");
        assert_eq!((&value["exit_code"], &value["ok"]), (&code.into(), &(code == 0).into()));
        assert!(json.stderr.is_empty(), "{}", words(&json.stderr));
        Found { code, table, errors, value }
    }
}

/// What a check has said.
pub struct Found {
    pub code: i32,
    pub table: String,
    pub errors: String,
    pub value: Value,
}

impl Found {
    fn steps(&self) -> &Vec<Value> {
        self.value["steps"].as_array().unwrap()
    }

    fn with(&self, verdict: &str) -> Vec<String> {
        let steps = self.steps().iter().filter(|step| step["verdict"] == verdict);
        steps.map(|step| format!("{} {}", word(step, "scope"), word(step, "step"))).collect()
    }

    /// The one step that failed: whose it is, what it is called, and what is said of it in the table and in JSON.
    #[track_caller]
    pub fn only_fault(&self, code: i32, step: &str, fault: &str, says: &[&str], todo: &[&str]) -> &Self {
        assert_eq!(self.with("fail"), [step], "{}", self.table);
        assert_eq!(self.code, code, "{}", self.table);
        assert_eq!(self.errors.lines().last().unwrap_or_default().split(',').next(), Some("error: 1 step failed"));
        self.told("fail", "FAIL", step, fault, says, todo)
    }

    /// The one warning; nothing fails.
    #[track_caller]
    pub fn only_warning(&self, step: &str, fault: &str, says: &[&str], todo: &[&str]) -> &Self {
        assert_eq!((self.code, self.with("fail")), (0, vec![]), "{}", self.table);
        assert_eq!(self.with("warn"), [step], "{}", self.table);
        assert!(self.table.ends_with("no fault found, 1 warning\n"), "{}", self.table);
        self.told("warn", "warn", step, fault, says, todo)
    }

    #[track_caller]
    fn told(&self, verdict: &str, mark: &str, step: &str, fault: &str, says: &[&str], todo: &[&str]) -> &Self {
        let of = |s: &&Value| s["verdict"] == verdict && format!("{} {}", word(s, "scope"), word(s, "step")) == step;
        let found = self.steps().iter().find(of).unwrap();
        assert_eq!(word(found, "fault"), fault, "{}", self.table);
        let mut lines = self.table.lines().skip_while(|line| !line.starts_with(mark));
        let (line, next) = (lines.next().unwrap(), lines.next().unwrap());
        for part in says {
            let is_told = word(found, "says").contains(part) || word(found, "address").contains(part);
            assert!(is_told && line.contains(part), "no `{part}` in: {line}");
        }
        for part in todo {
            assert!(word(found, "todo").contains(part), "no `{part}` in: {next}");
            assert!(next.starts_with("      to do: ") && next.contains(part), "no `{part}` in: {next}");
        }
        self
    }

    /// These went well, each of them at least once.
    #[track_caller]
    pub fn good(&self, steps: &[&str]) -> &Self {
        let good = self.with("ok");
        for step in steps {
            assert!(good.contains(&(*step).to_owned()), "{step} is not ok:\n{}", self.table);
        }
        self
    }

    #[track_caller]
    pub fn skips(&self, step: &str, says: &str) -> &Self {
        let of = |s: &&Value| s["verdict"] == "skip" && format!("{} {}", word(s, "scope"), word(s, "step")) == step;
        let found = self.steps().iter().find(of).unwrap_or_else(|| panic!("{step} is not skipped:\n{}", self.table));
        assert!(word(found, "says").contains(says), "{found}");
        self
    }

    /// No fault, and no warning.
    #[track_caller]
    pub fn faultless(&self) -> &Self {
        assert_eq!((self.code, self.with("fail"), self.with("warn")), (0, vec![], vec![]), "{}", self.table);
        assert!(self.table.ends_with("no fault found\n"), "{}", self.table);
        self
    }
}

fn word<'a>(step: &'a Value, key: &str) -> &'a str {
    step[key].as_str().unwrap_or_default()
}
