//! Facts as lines for people.

mod table;
mod words;

use self::table::{Column, table};
use self::words::{bytes, duration, latency, number, plural};
use super::ask::Seen;
use super::facts::{Client, Event, Group, Member, Partition, Reload, Status, Traffic};
use crate::cli::text::{printable, utc};

/// Of what menders did: the newest ones. The others are in `--json`, and in the log.
const EVENTS: usize = 20;
const NONE: &str = "-";

const GOOD: &str = "32";
const BAD: &str = "1;31";
const WARN: &str = "33";
const FAINT: &str = "2";
const BOLD: &str = "1";

/// Colours, where they are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(pub bool);

impl Paint {
    fn on(self, colour: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Everything there is.
pub(super) fn whole(seen: &Seen, paint: Paint, now: f64) -> String {
    let mut lines = head(&seen.status.read, None, paint, now);
    for section in sections(seen, paint) {
        lines.push(String::new());
        lines.extend(section);
    }
    lines.join("\n") + "\n"
}

/// So much of each section that all fit into `height` lines.
pub(super) fn fitted(seen: &Seen, trouble: Option<&str>, paint: Paint, now: f64, height: usize) -> Vec<String> {
    let mut lines = head(&seen.status.read, trouble, paint, now);
    let mut sections = sections(seen, paint);
    // An empty line in front of each.
    let room = height.saturating_sub(lines.len() + sections.len());
    let shares = shares(&sections.iter().map(Vec::len).collect::<Vec<_>>(), room);
    for (section, share) in sections.iter_mut().zip(shares) {
        if section.len() > share {
            let more = section.len() - share.saturating_sub(1);
            section.truncate(share.saturating_sub(1));
            section.push(paint.on(FAINT, &format!("… {} more: kmend status", plural(more, "line", "lines"))));
        }
        lines.push(String::new());
        lines.append(section);
    }
    lines.truncate(height);
    lines
}

/// Who needs little gets it; the others share what is left.
fn shares(wanted: &[usize], room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&nth| wanted.get(nth));
    let (mut left, mut shares) = (room, vec![0; wanted.len()]);
    for (done, &nth) in order.iter().enumerate() {
        let fair = left / (wanted.len() - done);
        if let (Some(share), Some(wanted)) = (shares.get_mut(nth), wanted.get(nth)) {
            *share = fair.min(*wanted);
            left -= *share;
        }
    }
    shares
}

fn head(status: &Status, trouble: Option<&str>, paint: Paint, now: f64) -> Vec<String> {
    let commit = status.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    let mut lines = vec![format!(
        "{}{}  up {}, log level {}",
        paint.on(BOLD, &format!("kmend {}", printable(&status.version))),
        printable(&commit),
        duration(status.uptime_seconds),
        printable(&status.log_level),
    )];
    let bootstrap = printable(&status.upstream.bootstrap.join(","));
    let cluster = printable(status.cluster_id.as_deref().unwrap_or("not known yet"));
    let up = if status.upstream.up { paint.on(GOOD, "up") } else { paint.on(BAD, "down") };
    lines.push(format!("upstream     {up}: {bootstrap}, cluster {cluster}"));
    let listeners = status.listeners.iter().map(|listener| match listener.node {
        Some(node) => format!("{} for node {node}", listener.address),
        None => listener.address.clone(),
    });
    lines.push(format!("listeners    {}", printable(&listeners.collect::<Vec<_>>().join(", "))));
    let (clients, upstream) = (status.connections.clients, status.connections.upstream);
    lines.push(format!("connections  {clients} from clients, {upstream} to brokers"));
    lines.push(format!("traffic      {}", traffic(&status.traffic)));
    lines.extend(status.reload.as_ref().map(|last| reload(last, paint, now)));
    if let Some(trouble) = trouble {
        lines.push(paint.on(BAD, &printable(trouble)));
    }
    let attention = attention(status);
    if !attention.is_empty() {
        lines.push(paint.on(BAD, &format!("attention    {}", attention.join("; "))));
    }
    lines
}

/// Of the newest step.
fn traffic(traffic: &Traffic) -> String {
    let Some(requests) = traffic.requests.last() else { return "nothing yet".to_owned() };
    let rate = |of: &[f64]| bytes(of.last().copied().unwrap_or(0.0));
    let newest = |of: &[Option<f64>]| of.last().copied().flatten().map_or(NONE.to_owned(), latency);
    format!(
        "{} requests/s, {}/s in, {}/s out; upstream p50 {}, p99 {}; added p50 {}, p99 {}",
        number(requests.round() as i64),
        rate(&traffic.request_bytes),
        rate(&traffic.response_bytes),
        newest(&traffic.upstream_p50),
        newest(&traffic.upstream_p99),
        newest(&traffic.added_p50),
        newest(&traffic.added_p99),
    )
}

fn reload(last: &Reload, paint: Paint, now: f64) -> String {
    let ago = duration((now - last.at).max(0.0) as u64);
    if !last.ok {
        let why = printable(last.error.as_deref().unwrap_or_default());
        return paint.on(BAD, &format!("reload       refused {ago} ago, nothing has changed: {why}"));
    }
    let mut said = Vec::new();
    said.extend((!last.changed.is_empty()).then(|| last.changed.join(", ")));
    said.extend(
        (!last.needs_restart.is_empty()).then(|| format!("needs a restart: {}", last.needs_restart.join(", "))),
    );
    let said = if said.is_empty() { "nothing changed".to_owned() } else { said.join("; ") };
    format!("reload       {ago} ago: {}", printable(&said))
}

/// What is wrong now.
fn attention(status: &Status) -> Vec<String> {
    let members = || status.groups.iter().flat_map(|group| &group.members);
    let unfetched: usize = members().map(|member| member.unfetched).sum();
    let stalled = members().filter(|member| member.stalled.is_some()).count();
    let mut found = Vec::new();
    found.extend((!status.upstream.up).then(|| "no broker answers".to_owned()));
    found.extend((unfetched > 0).then(|| {
        let partitions = plural(unfetched, "partition is", "partitions are");
        format!("{partitions} assigned and not fetched")
    }));
    found.extend((stalled > 0).then(|| format!("{} stalled", plural(stalled, "consumer is", "consumers are"))));
    found
}

fn sections(seen: &Seen, paint: Paint) -> Vec<Vec<String>> {
    let status = &seen.status.read;
    vec![repairs(status, &seen.events.read, paint), groups(status, paint), clients(status, paint)]
}

fn repairs(status: &Status, events: &[Event], paint: Paint) -> Vec<String> {
    let mut lines = vec![paint.on(BOLD, "REPAIRS")];
    let rows = status.menders.iter().map(|mender| {
        let counts: Vec<_> = mender.outcomes.iter().map(|(outcome, n)| format!("{outcome} {n}")).collect();
        let counts = if counts.is_empty() { "nothing yet".to_owned() } else { counts.join(", ") };
        vec![mender.name.clone(), mender.mode.clone(), counts]
    });
    lines.extend(table(&[Column::left(""), Column::left(""), Column::left("")], rows.collect(), "  "));
    lines.extend(events.iter().rev().take(EVENTS).map(|one| format!("  {}", event(one, paint))));
    let older = events.len().saturating_sub(EVENTS);
    lines.extend((older > 0).then(|| paint.on(FAINT, &format!("  … {older} older: kmend status --json"))));
    lines
}

/// One line.
pub(super) fn event(event: &Event, paint: Paint) -> String {
    let at = paint.on(FAINT, &utc((event.at.max(0.0) * 1000.0) as u64));
    let observed = if event.observed { "observed, not done: " } else { "" };
    let text = format!("{observed}{}", printable(&event.text));
    let text = match event.level.as_str() {
        "ERROR" => paint.on(BAD, &text),
        "WARN" => paint.on(WARN, &text),
        _ => text,
    };
    format!("{at}  {:<19}  {text}", printable(&event.mender))
}

fn groups(status: &Status, paint: Paint) -> Vec<String> {
    let mut lines = vec![paint.on(BOLD, &format!("GROUPS ({})", status.groups.len()))];
    for group in &status.groups {
        lines.push(group_line(group, paint));
        for member in &group.members {
            lines.extend(member_lines(member, paint));
        }
    }
    let omitted = status.partitions_omitted;
    lines.extend((omitted > 0).then(|| format!("  and {omitted} partitions more, which kmend does not list")));
    lines
}

fn group_line(group: &Group, paint: Paint) -> String {
    let partitions = group.members.iter().flat_map(|member| &member.partitions);
    let lags: Vec<i64> = partitions.clone().filter_map(|partition| partition.lag).collect();
    let mut said = vec![plural(group.members.len(), "member", "members")];
    said.push(plural(partitions.count(), "partition", "partitions"));
    said.extend((!lags.is_empty()).then(|| format!("lag {}", number(lags.iter().sum()))));
    let how = match (group.kind.as_str(), group.protocol.as_str()) {
        ("none", _) => "no membership".to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, protocol) => format!("{kind}, {protocol}"),
    };
    format!("  {}  {}: {}", paint.on(BOLD, &printable(&group.group)), printable(&how), said.join(", "))
}

fn member_lines(member: &Member, paint: Paint) -> Vec<String> {
    let name = member.member.as_deref().unwrap_or("(no member id)");
    let instance = member.instance.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
    let mut said = Vec::new();
    said.extend((member.generation >= 0).then(|| format!("generation {}", member.generation)));
    said.extend((member.phase != "none").then(|| member.phase.clone()));
    said.push(match member.assigned {
        Some(assigned) => format!("{assigned} assigned"),
        None => "assignment not known".to_owned(),
    });
    said.extend((member.paused > 0).then(|| format!("{} paused", member.paused)));
    let unfetched = if member.unfetched > 0 { format!(", {} not fetched", member.unfetched) } else { String::new() };
    let who = printable(&format!("{name}{instance}  {} at {}", member.client_id, member.address));
    let mut lines = vec![format!("    {who}  {}{}", said.join(", "), paint.on(BAD, &unfetched))];
    if let Some(stalled) = &member.stalled {
        let since = duration(stalled.for_seconds);
        let reason = printable(&stalled.reason);
        lines.push(paint.on(BAD, &format!("      stalled for {since}: {reason}; lag {}", number(stalled.lag))));
    }
    if !member.partitions.is_empty() {
        let columns = [
            Column::left("topic"),
            Column::right("partition"),
            Column::right("position"),
            Column::right("committed"),
            Column::right("end"),
            Column::right("lag"),
            Column::left("state"),
        ];
        let rows = member.partitions.iter().map(cells).collect();
        let mut rows = table(&columns, rows, "      ");
        for (line, partition) in rows.iter_mut().skip(1).zip(&member.partitions) {
            if partition.state == "unfetched" {
                *line = paint.on(BAD, line);
            }
        }
        if let Some(heading) = rows.first_mut() {
            *heading = paint.on(FAINT, heading);
        }
        lines.append(&mut rows);
    }
    lines
}

fn cells(partition: &Partition) -> Vec<String> {
    let offset = |value: Option<i64>| value.map_or(NONE.to_owned(), |value| value.to_string());
    vec![
        partition.topic.clone(),
        partition.partition.to_string(),
        offset(partition.position),
        offset(partition.committed),
        offset(partition.end),
        offset(partition.lag),
        partition.state.clone(),
    ]
}

fn clients(status: &Status, paint: Paint) -> Vec<String> {
    let count = status.clients.len() + status.clients_omitted;
    let mut lines = vec![paint.on(BOLD, &format!("CLIENTS ({count})"))];
    if status.clients.is_empty() {
        return lines;
    }
    let columns = [
        Column::left("client id"),
        Column::left("address"),
        Column::left("software"),
        Column::left("version"),
        Column::right("connections"),
    ];
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
    let row = |client: &Client| {
        let id = if client.client_id.is_empty() { "(none)" } else { &client.client_id };
        let connections = client.connections.to_string();
        vec![id.to_owned(), client.address.clone(), word(&client.software), word(&client.version), connections]
    };
    let mut rows = table(&columns, status.clients.iter().map(row).collect(), "  ").into_iter();
    lines.extend(rows.next().map(|heading| paint.on(FAINT, &heading)));
    for (line, client) in rows.zip(&status.clients) {
        lines.push(line);
        for fault in &client.faults {
            let fixed = fault.fixed_in.as_ref().map(|version| format!(", fixed in {version}")).unwrap_or_default();
            let mender = fault.mender.as_ref().map(|name| format!(" (menders.{name})")).unwrap_or_default();
            lines.push(paint.on(WARN, &printable(&format!("    {}{fixed}{mender}", fault.what))));
        }
    }
    let omitted = status.clients_omitted;
    lines.extend((omitted > 0).then(|| format!("  and {omitted} more, which kmend does not list")));
    lines
}

#[cfg(test)]
mod tests;
