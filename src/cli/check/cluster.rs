//! The whole cluster: every bootstrap address, and every broker that the metadata names, side by side.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::explain;
use super::probe::{Env, Probe, Reached};
use super::questions::{Cluster, Identity, Unanswered};
use super::report::{Fault, Report, Scope, Step};
use super::sessions::clock;
use crate::config::units::HostPort;

/// Each probe takes a descriptor or two, and 1024 are usual.
const AT_ONCE: usize = 64;
/// CLUSTER_AUTHORIZATION_FAILED and TOPIC_AUTHORIZATION_FAILED.
const NOT_ALLOWED: [i16; 2] = [31, 29];

/// What a bootstrap address led to.
struct Start {
    steps: Vec<Step>,
    cluster: Option<Cluster>,
    /// Reached by an address that is this host's alone.
    is_near: bool,
}

/// Adds what was found; how many brokers there are, where that is known.
pub(super) async fn look(env: Env, report: &mut Report) -> Option<usize> {
    let env = Arc::new(env);
    let addresses = env.config.upstream.bootstrap.clone();
    let starts = side_by_side(addresses.iter().cloned().map(|address| bootstrap(env.clone(), address))).await;
    let known = starts.iter().find_map(|start| Some((start.cluster.clone()?, start.is_near)));
    for (start, address) in starts.into_iter().zip(&addresses) {
        let id = start.cluster.and_then(|cluster| cluster.id);
        report.steps.extend(start.steps);
        if let (Some(id), Some(first)) = (id, known.as_ref().and_then(|(first, _)| first.id.as_ref()))
            && id != *first
        {
            let fault = Fault::new(
                "another_cluster",
                format!("this address leads to the cluster {id}, another one to {first}"),
                "let upstream.bootstrap name brokers of one cluster only",
            );
            report.steps.push(Step::fail(Scope::Bootstrap, "identity", fault).at(address));
        }
    }
    let Some((cluster, is_near)) = known else {
        report.steps.push(Step::skip(Scope::Cluster, "brokers", "not known: no bootstrap address has named them"));
        return None;
    };
    report.cluster_id.clone_from(&cluster.id);
    report.steps.extend(doubled(&cluster));
    let brokers = cluster.brokers.clone();
    let count = brokers.len();
    let id = cluster.id;
    let all = brokers.into_iter().map(|(node, at)| broker(env.clone(), node, at, id.clone(), is_near));
    report.steps.extend(side_by_side(all).await.into_iter().flatten());
    let now = clock(super::certificates::now());
    report.steps.push(Step::skip(
        Scope::Cluster,
        "clock",
        format!("this host says {now}; Kafka's protocol does not tell the brokers' time, only certificates and tokens bound it"),
    ));
    Some(count)
}

/// The results in the order of the tasks.
async fn side_by_side<T, F>(tasks: impl Iterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut all = JoinSet::new();
    for (index, task) in tasks.enumerate() {
        let places = places.clone();
        all.spawn(async move {
            let _place = places.acquire().await;
            (index, task.await)
        });
    }
    let mut done = all.join_all().await;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

async fn bootstrap(env: Arc<Env>, address: HostPort) -> Start {
    let mut probe = Probe::new(&env, Scope::Bootstrap, &address);
    let mut start = Start { steps: Vec::new(), cluster: None, is_near: true };
    if let Some(mut reached) = probe.run().await {
        start.is_near = reached.peer.is_none_or(|peer| peer.ip().to_canonical().is_loopback());
        match reached.asked.cluster().await {
            Ok(cluster) if cluster.brokers.is_empty() => probe.fail(
                "metadata",
                Fault::new(
                    "no_brokers",
                    "the metadata names no broker",
                    "wait until the brokers have registered; a listener that brokers do not advertise names none",
                ),
            ),
            Ok(cluster) => {
                let id = cluster.id.as_deref().unwrap_or("(none)");
                let count = match cluster.brokers.len() {
                    1 => "1 broker".to_owned(),
                    n => format!("{n} brokers"),
                };
                probe.ok("metadata", format!("cluster {id}, {count}, controller {}", cluster.controller));
                start.cluster = Some(cluster);
            }
            Err(error) => no_metadata(&env, &address, &mut probe, error).await,
        }
    }
    start.steps = probe.steps;
    start
}

/// Most often the broker wants a login first, and the clients bring theirs.
async fn no_metadata(env: &Env, address: &HostPort, probe: &mut Probe<'_>, error: Unanswered) {
    let fault = match error {
        Unanswered::Own(error) => {
            if env.config.upstream.sasl.mechanism.is_none()
                && let Some(known) = mechanisms(env, address).await
            {
                needs_login(probe, &known);
                return;
            }
            explain::protocol(&error, env.config.upstream.connect_timeout.0)
        }
        Unanswered::Unknown => explain::too_old("Metadata"),
        Unanswered::Garbled => explain::not_kafka(),
    };
    probe.fail("metadata", fault);
}

/// By which mechanisms clients may log in here.
async fn mechanisms(env: &Env, address: &HostPort) -> Option<Vec<String>> {
    // Its own steps have been told before.
    let mut reached = Probe::new(env, Scope::Bootstrap, address).run().await?;
    reached.asked.mechanisms().await.ok().filter(|known| !known.is_empty())
}

fn needs_login(probe: &mut Probe<'_>, known: &[String]) {
    let names = known.join(", ");
    if known == ["GSSAPI"] {
        // A client asks its KDC for a ticket to the host that it dials, which is kmend.
        probe.warn(
            "login",
            Fault::new(
                "sasl_gssapi",
                "the broker wants a login by GSSAPI (Kerberos), which is bound to the broker's own name: clients that \
                 dial kmend ask their KDC for a ticket to kmend",
                "use another mechanism through kmend, or dial the brokers directly (docs/sasl.md)",
            ),
        );
    } else {
        let kerberos = if known.iter().any(|m| m == "GSSAPI") {
            "; GSSAPI works through kmend only where clients dial the brokers' own names"
        } else {
            ""
        };
        probe.skip(
            "login",
            format!(
                "the broker wants one, and upstream.sasl.mechanism is null: the clients' own logins pass through, and are \
                 not tried here; it knows {names}{kerberos}"
            ),
        );
    }
    probe.skip("metadata", "not told without a login: the brokers behind cannot be tried");
}

async fn broker(env: Arc<Env>, node: i32, address: HostPort, cluster: Option<String>, is_near: bool) -> Vec<Step> {
    let mut probe = Probe::new(&env, Scope::Broker(node), &address);
    let is_right = match probe.run().await {
        Some(reached) => identity(&mut probe, reached, node, cluster).await,
        None => false,
    };
    if let Some(fault) = probe.steps.last_mut().and_then(|step| step.fault.as_mut()).filter(|_| !is_right) {
        fault.todo.push_str(&format!("; the address is the one that broker {node} advertises (advertised.listeners)"));
    }
    if address.is_loopback() && !is_near {
        let fault = Fault::new(
            "advertised_loopback",
            format!(
                "broker {node} advertises {address}, and the bootstrap address is on another host: whoever dials that \
                 reaches itself"
            ),
            format!("set advertised.listeners of broker {node} to a name or address that this host can reach"),
        );
        // It is another address of this very host, as it turned out.
        let step = if is_right { Step::warn } else { Step::fail };
        probe.steps.insert(0, step(Scope::Broker(node), "advertised", fault).at(&address));
    }
    probe.steps
}

/// Whether the broker that answers is the one that was meant; also where it does not say.
async fn identity(probe: &mut Probe<'_>, mut reached: Reached, node: i32, cluster: Option<String>) -> bool {
    match reached.asked.cluster().await {
        Ok(Cluster { id: Some(id), .. }) if cluster.as_ref().is_some_and(|wanted| *wanted != id) => {
            let wanted = cluster.unwrap_or_default();
            probe.fail(
                "identity",
                Fault::new(
                    "another_cluster",
                    format!("a broker of the cluster {id} answers here, not broker {node} of {wanted}"),
                    "look at DNS and at load balancers: this address leads somewhere else",
                ),
            );
            return false;
        }
        Ok(_) => {}
        Err(error) => {
            let limit = reached.asked.limit;
            let fault = match error {
                Unanswered::Own(error) => explain::protocol(&error, limit),
                Unanswered::Unknown => explain::too_old("Metadata"),
                Unanswered::Garbled => explain::not_kafka(),
            };
            probe.fail("metadata", fault);
            return false;
        }
    }
    match reached.asked.is_node(node).await {
        Ok(Identity::Right) => probe.ok("identity", format!("it is node {node} of this cluster")),
        Ok(Identity::Wrong(words)) => {
            let words = if words.is_empty() { String::new() } else { format!(" (in its words: {words})") };
            probe.fail(
                "identity",
                Fault::new(
                    "wrong_node",
                    format!("another broker of this cluster answers here, not node {node}{words}"),
                    "let each broker advertise an address of its own: one that a load balancer spreads over brokers does \
                     not work with Kafka",
                ),
            );
            return false;
        }
        Ok(Identity::Unknown(error)) if NOT_ALLOWED.contains(&error) => {
            probe.skip("identity", "the node id cannot be told: this login may not DESCRIBE_CONFIGS on the cluster");
        }
        Ok(Identity::Unknown(error)) => {
            probe.skip("identity", format!("the node id cannot be told: the broker answers with the error {error}"));
        }
        Err(_) => probe.skip("identity", "the node id cannot be told: the broker does not answer DescribeConfigs"),
    }
    true
}

/// Brokers that advertise one and the same address.
fn doubled(cluster: &Cluster) -> Vec<Step> {
    let mut nodes: BTreeMap<&HostPort, Vec<String>> = BTreeMap::new();
    for (node, address) in &cluster.brokers {
        nodes.entry(address).or_default().push(node.to_string());
    }
    let shared = nodes.into_iter().filter(|(_, nodes)| nodes.len() > 1);
    let step = |(address, nodes): (&HostPort, Vec<String>)| {
        let fault = Fault::new(
            "advertised_twice",
            format!("the brokers {} advertise the same address", nodes.join(", ")),
            "give each broker an advertised.listeners of its own: a client has to reach each of them alone",
        );
        Step::fail(Scope::Cluster, "advertised", fault).at(address)
    };
    shared.map(step).collect()
}
