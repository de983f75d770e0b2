//! From an error on the way to a broker to the step that failed, what is wrong, and what to do.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::report::Fault;
use super::sessions::{CLOCK, ended};
use crate::config::Config;
use crate::config::units::HostPort;
use crate::upstream::own::OwnError;
use crate::upstream::sasl::{LoginError, TokenError};
use crate::upstream::{DialError, Step, chain};
use crate::wire::frame::FrameError;

pub(super) fn dns(address: &HostPort, error: &io::Error) -> Fault {
    let host = &address.host;
    Fault::new(
        "dns",
        format!("the name {host} cannot be resolved: {error}"),
        format!(
            "look for a typing error, and ask a resolver on this host (getent hosts {host}); in Kubernetes a short name \
             is looked up in the pod's own namespace: add the other's"
        ),
    )
}

pub(super) fn late(step: Step, address: &HostPort, found: &[SocketAddr], after: Duration) -> Fault {
    match step {
        Step::Dns => Fault::new(
            "dns_timeout",
            format!("no resolver has answered for {} within {after:?}", address.host),
            "look at the nameservers in /etc/resolv.conf, and at network policies for port 53",
        ),
        Step::Tcp => Fault::new(
            "tcp_timeout",
            format!("{} took no connection within {after:?}: packets are dropped", addresses(found)),
            "look at firewalls, security groups and network policies on the way, and whether the address is this cluster's",
        ),
        Step::Tls => Fault::new(
            "tls_timeout",
            format!("it took the connection, and does not answer a TLS handshake within {after:?}"),
            "look whether this is the TLS port of a broker that has finished its start; a load balancer without a broker \
             behind it is silent, too",
        ),
        Step::Sasl => Fault::new(
            "login_timeout",
            format!("it took the connection, and has not ended the login within {after:?}"),
            "look whether the broker has finished its start, and at the server that checks its logins (LDAP, OAuth)",
        ),
    }
}

pub(super) fn tcp(found: &[SocketAddr], error: &io::Error) -> Fault {
    let at = addresses(found);
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::new(
            "tcp_refused",
            format!("{at} refuses the connection: nothing listens on this port"),
            "look whether the port is that of a broker's listener, and whether the broker runs",
        ),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Fault::new(
            "tcp_unreachable",
            format!("there is no way to {at}: {error}"),
            "look at routes and at network policies; an IPv6 address needs IPv6 on this host",
        ),
        _ => Fault::new(
            "tcp",
            format!("no connection to {at}: {error}"),
            "look at the way to this address: firewalls, security groups, network policies",
        ),
    }
}

/// Nothing is wrong with the broker.
pub(super) fn descriptors(error: &DialError) -> Fault {
    Fault::ours(
        "descriptors",
        format!("this process has no descriptor left for a connection: {}", chain(error)),
        "raise the limit (ulimit -n, LimitNOFILE= of systemd)",
    )
}

fn addresses(found: &[SocketAddr]) -> String {
    match found {
        [] => "the address".to_owned(),
        [one] => one.to_string(),
        many => {
            let texts: Vec<_> = many.iter().map(ToString::to_string).collect();
            format!("each of {}", texts.join(", "))
        }
    }
}

/// Where the other side speaks something else than was expected.
pub(super) fn plaintext_broker() -> Fault {
    Fault::new(
        "plaintext_broker",
        "the broker speaks plaintext on this port, and upstream.tls.enabled is true",
        "set upstream.tls.enabled: false, or use the port of its TLS listener",
    )
}

pub(super) fn tls_broker() -> Fault {
    Fault::new(
        "tls_broker",
        "the broker speaks TLS on this port, and upstream.tls.enabled is false",
        "set upstream.tls.enabled: true (and upstream.tls.ca_file where its authority is not a public one)",
    )
}

fn http() -> Fault {
    Fault::new(
        "http",
        "an HTTP server answers here, not a Kafka broker",
        "use the broker's port: this one may be Kafka Connect's, a REST proxy's, an admin page's or an ingress",
    )
}

pub(super) fn no_tls(how: &str) -> Fault {
    Fault::new(
        "tls_handshake",
        format!("it took the connection, and ended the TLS handshake at once: {how}"),
        "look whether a Kafka broker listens on this port, and whether with TLS; its log names the reason",
    )
}

/// A question that was not answered as a Kafka broker does.
pub(super) fn protocol(error: &OwnError, limit: Duration) -> Fault {
    match error {
        OwnError::NotKafka(FrameError::Tls | FrameError::TlsAlert) => tls_broker(),
        OwnError::NotKafka(FrameError::Http) => http(),
        OwnError::Late => Fault::new(
            "silent",
            format!("it took the connection, and does not answer a Kafka request within {limit:?}"),
            "look whether a Kafka broker listens on this port, has finished its start and is not out of memory; a load \
             balancer without a broker behind it is silent, too",
        ),
        OwnError::Io(error) => Fault::new(
            "hung_up",
            format!("it took the connection, and ended it on the first Kafka request: {}", ended(error)),
            "look whether a Kafka broker listens on this port, and in its log at this moment",
        ),
        OwnError::NotKafka(_) | OwnError::Unreadable => not_kafka(),
    }
}

pub(super) fn not_kafka() -> Fault {
    Fault::new(
        "not_kafka",
        "what answers here is no Kafka broker",
        "look at host and port: ZooKeeper, a KRaft controller and other servers have ports of their own",
    )
}

pub(super) fn too_old(what: &str) -> Fault {
    Fault::new(
        "too_old",
        format!("the broker does not know a {what} request that every Kafka since 0.11 does"),
        "look whether this is a broker, and not a KRaft controller",
    )
}

/// The login that kmend makes itself. `None`: it is none of the login's own faults.
pub(super) fn login(config: &Config, error: &LoginError) -> Option<Fault> {
    let sasl = &config.upstream.sasl;
    let secret = match (&sasl.password_file, &sasl.oauth.token_file) {
        (Some(_), _) => "upstream.sasl.username and the content of upstream.sasl.password_file",
        (None, Some(_)) => "the token in upstream.sasl.oauth.token_file: its end, issuer, audience and signature",
        (None, None) => "upstream.sasl.oauth: what the endpoint's tokens say of issuer, audience and scope",
    };
    Some(match error {
        LoginError::File { .. } | LoginError::Content { .. } | LoginError::Token(_) => credentials(error),
        LoginError::Mechanism { wanted, offered } => {
            let known = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            Fault::new(
                "sasl_mechanism",
                format!("the broker does not know the mechanism {wanted} on this listener; it knows {known}"),
                "set upstream.sasl.mechanism to one of them, or use another listener",
            )
        }
        LoginError::NotWanted => Fault::new(
            "sasl_not_wanted",
            "this listener has no logins (ILLEGAL_SASL_STATE), and upstream.sasl.mechanism is set",
            "set upstream.sasl.mechanism: null, or use the port of a listener with SASL",
        ),
        LoginError::Refused(words) => Fault::new(
            "login_refused",
            format!("the broker refuses the login: {words}"),
            format!("compare {secret} with what the brokers know; they check anew at each login"),
        ),
        LoginError::Iterations { .. } => Fault::new(
            "scram_iterations",
            error.to_string(),
            "make sure that this is the broker that it should be; then give the user new SCRAM credentials",
        ),
        LoginError::Exchange(_) => Fault::new(
            "sasl_exchange",
            chain(error),
            format!(
                "compare {secret} with what the brokers know; a broker that does not know the password itself is not trusted"
            ),
        ),
        LoginError::Version | LoginError::Codec(_) => {
            Fault::new("sasl_exchange", chain(error), "is this a Kafka broker of 1.0 or newer?")
        }
        LoginError::HungUp { .. } | LoginError::Own(_) => return None,
    })
}

/// What a login begins with.
pub(super) fn credentials(error: &LoginError) -> Fault {
    match error {
        LoginError::File { .. } | LoginError::Content { .. } => Fault::ours(
            "credentials",
            chain(error),
            "let the file exist, be readable by kmend's user, and hold the secret alone",
        ),
        LoginError::Token(TokenError::Unreachable { .. } | TokenError::Late { .. }) => Fault::new(
            "token_endpoint",
            chain(error),
            "look at upstream.sasl.oauth.token_url, at the way to it, and at upstream.sasl.oauth.ca_file",
        ),
        other => Fault::new(
            "token_refused",
            chain(other),
            format!(
                "compare upstream.sasl.oauth.client_id, the content of client_secret_file, scope and audience with what the endpoint knows, and {CLOCK}"
            ),
        ),
    }
}

/// The broker hung up on the login.
pub(super) fn login_hung_up(tls: bool, how: &str) -> Fault {
    let todo = if tls {
        "use the port of a listener with SASL"
    } else {
        "use the port of a listener with SASL and without TLS, or switch on upstream.tls"
    };
    Fault::new("login_hung_up", format!("the broker hung up on the login: {how}"), todo)
}
