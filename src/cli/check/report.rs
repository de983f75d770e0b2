//! What was found, step by step: as a table for people, as JSON for scripts.

use serde_json::{Value, json};

use crate::cli::text::printable;
use crate::cli::{Failed, UNAVAILABLE};
use crate::config::ConfigError;
use crate::config::units::HostPort;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    Warn,
    Fail,
    /// Not tried, and why.
    Skip,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "32",
            Self::Warn => "33",
            Self::Fail => "1;31",
            Self::Skip => "2",
        }
    }
}

/// Whose step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// This host, and what is configured.
    Kmend,
    Bootstrap,
    Cluster,
    Broker(i32),
}

impl Scope {
    fn word(self) -> &'static str {
        match self {
            Self::Kmend => "kmend",
            Self::Bootstrap => "bootstrap",
            Self::Cluster => "cluster",
            Self::Broker(_) => "broker",
        }
    }

    fn node(self) -> Option<i32> {
        match self {
            Self::Broker(node) => Some(node),
            _ => None,
        }
    }
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// For scripts; does not change from version to version.
    pub id: &'static str,
    pub says: String,
    pub todo: String,
    /// It lies in the configuration or on this host, not with the cluster.
    pub is_ours: bool,
}

impl Fault {
    pub(super) fn new(id: &'static str, says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { id, says: says.into(), todo: todo.into(), is_ours: false }
    }

    pub(super) fn ours(id: &'static str, says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { is_ours: true, ..Self::new(id, says, todo) }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub verdict: Verdict,
    pub scope: Scope,
    /// Empty where there is none.
    pub address: String,
    pub name: &'static str,
    pub says: String,
    /// `None` where nothing is wrong.
    pub fault: Option<Fault>,
}

impl Step {
    fn new(verdict: Verdict, scope: Scope, name: &'static str, says: String, fault: Option<Fault>) -> Self {
        Self { verdict, scope, address: String::new(), name, says, fault }
    }

    pub(super) fn ok(scope: Scope, name: &'static str, says: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, scope, name, says.into(), None)
    }

    pub(super) fn skip(scope: Scope, name: &'static str, says: impl Into<String>) -> Self {
        Self::new(Verdict::Skip, scope, name, says.into(), None)
    }

    pub(super) fn warn(scope: Scope, name: &'static str, fault: Fault) -> Self {
        Self::new(Verdict::Warn, scope, name, fault.says.clone(), Some(fault))
    }

    pub(super) fn fail(scope: Scope, name: &'static str, fault: Fault) -> Self {
        Self::new(Verdict::Fail, scope, name, fault.says.clone(), Some(fault))
    }

    pub(super) fn at(mut self, address: &HostPort) -> Self {
        self.address = address.to_string();
        self
    }

    fn has_failed(&self) -> bool {
        self.verdict == Verdict::Fail
    }

    fn is_ours(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.is_ours)
    }

    fn as_value(&self) -> Value {
        json!({
            "verdict": self.verdict.word().to_ascii_lowercase(),
            "scope": self.scope.word(),
            "node": self.scope.node(),
            "address": Some(&self.address).filter(|text| !text.is_empty()),
            "step": self.name,
            "fault": self.fault.as_ref().map(|fault| fault.id),
            "says": self.says,
            "todo": self.fault.as_ref().map(|fault| &fault.todo),
        })
    }
}

/// All of it, in the order in which it was looked at.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub steps: Vec<Step>,
    pub notes: Vec<String>,
    pub cluster_id: Option<String>,
}

impl Report {
    /// What a fault on this side costs wins: the rest may follow from it.
    pub(super) fn outcome(&self) -> Result<(), Failed> {
        let mut failed = self.steps.iter().filter(|step| step.has_failed());
        if !failed.clone().any(Step::has_failed) {
            return Ok(());
        }
        Err(if failed.any(Step::is_ours) { ConfigError::EXIT_CODE } else { UNAVAILABLE })
    }

    /// One line about all lines.
    pub(super) fn summary(&self) -> String {
        let count = |verdict| self.steps.iter().filter(|step| step.verdict == verdict).count();
        let warnings = match count(Verdict::Warn) {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            n => format!(", {n} warnings"),
        };
        match count(Verdict::Fail) {
            0 => format!("no fault found{warnings}"),
            1 => format!("1 step failed{warnings}"),
            n => format!("{n} steps failed{warnings}"),
        }
    }

    pub(super) fn as_json(&self) -> String {
        let code = self.outcome().err().unwrap_or(0);
        let value = json!({
            "ok": code == 0,
            "exit_code": code,
            "cluster_id": self.cluster_id,
            "notes": self.notes,
            "steps": self.steps.iter().map(Step::as_value).collect::<Vec<_>>(),
        });
        format!("{value:#}\n")
    }

    pub(super) fn as_table(&self, coloured: bool) -> String {
        let named = |step: &Step| match step.scope {
            Scope::Broker(node) => format!("broker {node}"),
            scope => scope.word().to_owned(),
        };
        let width = |text: &dyn Fn(&Step) -> usize| self.steps.iter().map(text).max().unwrap_or(0);
        let scopes = width(&|step| named(step).chars().count());
        let addresses = width(&|step| step.address.chars().count());
        let names = width(&|step| step.name.chars().count());
        let paint = |colour: &str, text: String| {
            if coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text }
        };
        let mut table = String::new();
        for step in &self.steps {
            let word = paint(step.verdict.colour(), format!("{:4}", step.verdict.word()));
            // What brokers say and call themselves is theirs: it must not steer the terminal.
            let address = printable(&step.address);
            let says = printable(&step.says);
            let (scope, name) = (named(step), step.name);
            table.push_str(&format!("{word}  {scope:scopes$}  {address:addresses$}  {name:names$}  {says}\n"));
            if let Some(fault) = &step.fault {
                let todo = printable(&fault.todo);
                table.push_str(&paint(step.verdict.colour(), format!("      to do: {todo}")));
                table.push('\n');
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let at = HostPort::new("kafka", 9092);
        let fault = |is_ours| Fault { is_ours, ..Fault::new("tcp_refused", "no\x1b[2J", "start it") };
        Report {
            steps: vec![
                Step::ok(Scope::Kmend, "configuration", "valid"),
                Step::fail(Scope::Broker(7), "tcp", fault(false)).at(&at),
                Step::warn(Scope::Bootstrap, "tls", fault(true)).at(&at),
                Step::skip(Scope::Cluster, "clock", "unknown"),
            ],
            ..Report::default()
        }
    }

    #[test]
    fn the_table_is_aligned_and_steers_no_terminal() {
        assert_eq!(
            report().as_table(false),
            "ok    kmend                  configuration  valid\n\
             FAIL  broker 7   kafka:9092  tcp            no\u{fffd}[2J\n\
             \u{20}     to do: start it\n\
             warn  bootstrap  kafka:9092  tls            no\u{fffd}[2J\n\
             \u{20}     to do: start it\n\
             skip  cluster                clock          unknown\n"
        );
        let coloured = report().as_table(true);
        assert!(coloured.contains("\x1b[1;31mFAIL\x1b[0m") && coloured.contains("\x1b[32mok  \x1b[0m"), "{coloured}");
        assert!(!coloured.contains("\x1b[2J"), "{coloured}");
    }

    #[test]
    fn what_is_ours_is_78_and_the_rest_69() {
        let mut report = report();
        assert_eq!((report.outcome(), report.summary().as_str()), (Err(69), "1 step failed, 1 warning"));
        report.steps[2].verdict = Verdict::Fail;
        assert_eq!((report.outcome(), report.summary().as_str()), (Err(78), "2 steps failed"));
        report.steps.drain(1..3);
        assert_eq!((report.outcome(), report.summary().as_str()), (Ok(()), "no fault found"));
    }

    #[test]
    fn scripts_find_the_same_keys_in_every_step() {
        let value: Value = serde_json::from_str(&report().as_json()).unwrap();
        assert_eq!((&value["ok"], &value["exit_code"]), (&false.into(), &69.into()));
        for step in value["steps"].as_array().unwrap() {
            let keys: Vec<_> = step.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["verdict", "scope", "node", "address", "step", "fault", "says", "todo"]);
        }
        assert_eq!(value["steps"][1]["node"], 7);
        assert_eq!(value["steps"][1]["verdict"], "fail");
        assert_eq!(value["steps"][0]["address"], Value::Null);
    }
}
