//! `/healthz/clients`: do the members behind this kmend do anything (rule D4)?

use std::fmt::Write;

use crate::mend::view::{GroupStatus, MemberStatus, State, Status};

/// What is said at most, so that a probe's answer stays small.
const MAX_LINES: usize = 1000;

/// Whether nobody is stalled, and the text that says so.
pub(super) fn report(status: &Status, verbose: bool) -> (bool, String) {
    let stalled: Vec<String> = members(status).filter_map(|(group, member)| stalled(group, member)).collect();
    let mut lines = Lines::default();
    for line in &stalled {
        lines.push(line);
    }
    if verbose {
        for group in &status.groups {
            describe(&mut lines, group);
        }
    }
    let healthy = stalled.is_empty();
    let mut text = lines.text;
    if lines.left_out > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "... and {} more lines", lines.left_out);
    }
    if healthy {
        text.push_str("ok\n");
    }
    (healthy, text)
}

#[derive(Default)]
struct Lines {
    text: String,
    lines: usize,
    left_out: usize,
}

impl Lines {
    fn push(&mut self, line: &str) {
        if self.lines == MAX_LINES {
            self.left_out += 1;
            return;
        }
        self.lines += 1;
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn members(status: &Status) -> impl Iterator<Item = (&GroupStatus, &MemberStatus)> {
    status.groups.iter().flat_map(|group| group.members.iter().map(move |member| (group, member)))
}

fn stalled(group: &GroupStatus, member: &MemberStatus) -> Option<String> {
    let stalled = member.stalled.as_ref()?;
    let group = shown(&group.group);
    let (member, seconds, lag) = (name(member), stalled.for_seconds, stalled.lag);
    Some(format!("stalled: group {group}, {member}: {}; for {seconds} s, lag {lag}", stalled.reason))
}

fn name(member: &MemberStatus) -> String {
    let client = format!("client {} at {}", shown(&member.client_id), member.address);
    match &member.member {
        Some(id) => format!("member {}, {client}", shown(id)),
        None => client,
    }
}

fn describe(lines: &mut Lines, group: &GroupStatus) {
    let protocol = if group.protocol.is_empty() { "unknown" } else { &group.protocol };
    lines.push(&format!("group {} ({}, protocol {})", shown(&group.group), group.kind, shown(protocol)));
    for member in &group.members {
        let assigned = member.assigned.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        let quiet = member.partitions.iter().filter(|p| p.state == State::Waiting).count();
        let mark = if member.stalled.is_some() { "-" } else { "+" };
        let (unfetched, paused) = (listed(member, State::Unfetched), listed(member, State::Paused));
        lines.push(&format!(
            "  [{mark}] {}: assigned {assigned}, unfetched {}{unfetched}, paused {}{paused}, quiet {quiet}",
            name(member),
            member.unfetched,
            member.paused
        ));
    }
}

/// The partitions in this state, the first few by name.
fn listed(member: &MemberStatus, state: State) -> String {
    const MOST: usize = 10;
    let all = member.partitions.iter().filter(|p| p.state == state);
    let mut names: Vec<String> = all.take(MOST + 1).map(|p| format!("{}[{}]", shown(&p.topic), p.partition)).collect();
    if names.is_empty() {
        return String::new();
    }
    if names.len() > MOST {
        names.truncate(MOST);
        names.push("...".to_owned());
    }
    format!(" ({})", names.join(" "))
}

/// Clients choose these texts: no line break of theirs becomes one of ours.
fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}
