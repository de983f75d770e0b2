//! Layers that are text: the environment, `--set`, and flags with a key of their own.

use super::error::Problem;
use super::keys::{Keys, Kind, Place, similar};
use super::load::Flags;
use super::provenance::{KeyPath, Origin, join_key, split_key};
use super::tree::{Data, Node};
use super::units::HostPort;
use super::yaml;

const PREFIX: &str = "KMEND_";

/// One value from a variable or a flag.
pub(super) type Setting = Result<Node, Problem>;

/// The settings of the environment, and the names that Kubernetes put there.
pub(super) fn from_env(keys: &Keys, env: &[(String, String)]) -> (Vec<Setting>, Vec<String>) {
    let mut settings = Vec::new();
    let mut service_links = Vec::new();
    for (name, text) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if DEVELOPMENT.contains(&rest) {
            continue;
        }
        if is_service_link(rest) {
            service_links.push(name.clone());
            continue;
        }
        let origin = Origin::Env(name.clone());
        let path = env_path(keys, rest);
        settings.push(match path {
            Some(path) => setting(keys, &path, text, origin),
            None => Err(Problem { key: String::new(), origin, message: unknown_variable(keys, rest) }),
        });
    }
    (settings, service_links)
}

/// `UPSTREAM__TLS__CA_FILE` as a path; below a map of patterns the case is kept.
fn env_path(keys: &Keys, rest: &str) -> Option<KeyPath> {
    let mut place = keys.root();
    let mut path = KeyPath::new();
    for part in rest.split("__") {
        let name = match place.kind() {
            Kind::Map => part.to_owned(),
            _ => part.to_ascii_lowercase(),
        };
        place = place.child(&name)?;
        path.push(name);
    }
    Some(path)
}

fn unknown_variable(keys: &Keys, rest: &str) -> String {
    let names: Vec<String> =
        keys.all().iter().map(|path| format!("{PREFIX}{}", path.join("__").to_ascii_uppercase())).collect();
    let wanted = format!("{PREFIX}{rest}");
    match similar(&wanted, names.iter().map(String::as_str)) {
        Some(name) => format!("no key is called so; did you mean {name}?"),
        None => "no key is called so (levels are separated by two underscores: \
                 KMEND_UPSTREAM__BOOTSTRAP)"
            .to_owned(),
    }
}

/// What this repository's own scripts and tests are told by; all keys have a `__`, these have none.
const DEVELOPMENT: [&str; 9] =
    ["BIN", "BUILD_COMMIT", "CACHE", "COMMIT", "DEMO_KEEP", "DEMO_SECONDS", "MATRIX", "METRICS_FILE", "TEST_SLOTS"];

/// Kubernetes describes each Service of the namespace to each container: a Service called `kmend`
/// or `kmend-metrics` gives names that begin as ours do.
fn is_service_link(rest: &str) -> bool {
    if rest.contains("__") {
        return false;
    }
    let parts: Vec<&str> = rest.split('_').collect();
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.last() == Some(&"PORT")
        || parts.ends_with(&["SERVICE", "HOST"])
        || parts.windows(2).any(|pair| match pair {
            ["SERVICE", "PORT"] => true,
            ["PORT", port] => number(port),
            _ => false,
        })
}

/// The settings of `--set key=value`.
pub(super) fn from_sets(keys: &Keys, sets: &[String]) -> Vec<Setting> {
    sets.iter()
        .map(|set| {
            let problem = |message: &str| Problem {
                key: String::new(),
                origin: Origin::Flag(format!("--set {set}")),
                message: message.to_owned(),
            };
            let (key, text) =
                set.split_once('=').ok_or_else(|| problem("expected key=value, such as log.level=debug"))?;
            let key = key.trim();
            if key.is_empty() {
                return Err(problem("expected a key before the `=`"));
            }
            let path = set_path(keys, split_key(key));
            // The value may be long, and is shown where it matters.
            setting(keys, &path, text, Origin::Flag(format!("--set {key}")))
        })
        .collect()
}

/// Puts a pattern with dots together again: `topics.orders.eu.mode` names the topic `orders.eu`.
fn set_path(keys: &Keys, parts: KeyPath) -> KeyPath {
    let mut place = keys.root();
    let mut path = KeyPath::new();
    let mut rest = parts.as_slice();
    while let Some((part, below)) = rest.split_first() {
        if place.kind() == Kind::Map {
            let (pattern, last) = match (rest.split_last(), place.child("")) {
                (Some((last, pattern)), Some(rule)) if !pattern.is_empty() && rule.child(last).is_some() => {
                    (pattern, Some(last.clone()))
                }
                _ => (rest, None),
            };
            path.push(pattern.join("."));
            path.extend(last);
            return path;
        }
        path.push(part.clone());
        rest = below;
        match place.child(part) {
            Some(child) => place = child,
            None => {
                path.extend(rest.iter().cloned());
                return path;
            }
        }
    }
    path
}

/// The layer of `--upstream`, `--listen` and `--admin`.
pub(super) fn from_flags(flags: &Flags) -> Vec<Node> {
    let list = |flag: &str, key: &str, addresses: &[HostPort]| {
        let origin = Origin::Flag(flag.to_owned());
        let items =
            addresses.iter().map(|address| Node::new(origin.clone(), Data::Text(address.to_string()))).collect();
        Node::new(origin, Data::List(items)).at_path(&split_key(key))
    };
    let mut layers = Vec::new();
    if !flags.upstream.is_empty() {
        layers.push(list("--upstream", "upstream.bootstrap", &flags.upstream));
    }
    if !flags.listen.is_empty() {
        layers.push(list("--listen", "listen.address", &flags.listen));
    }
    if let Some(address) = &flags.admin {
        let origin = Origin::Flag("--admin".to_owned());
        let node = Node::new(origin, Data::Text(address.to_string()));
        layers.push(node.at_path(&split_key("admin.address")));
    }
    layers
}

/// Reads a text as what the key takes.
fn setting(keys: &Keys, path: &KeyPath, text: &str, origin: Origin) -> Setting {
    let mut place = Some(keys.root());
    for part in path {
        place = place.and_then(|place| place.child(part));
    }
    // A key that does not exist is found, with its neighbours, by the check of the whole layer.
    let data = match place {
        Some(place) => read(&place, text.trim(), &origin).map_err(|mut problem| {
            problem.key = join_key(path);
            problem
        })?,
        None => Data::Text(text.to_owned()),
    };
    Ok(Node::new(origin, data).at_path(path))
}

fn read(place: &Place<'_>, text: &str, origin: &Origin) -> Result<Data, Problem> {
    let inline = |text: &str| yaml::parse_inline(text, origin).map(|node| node.data);
    let word = |text: &str| Data::Text(text.trim().to_owned());
    if place.nullable() && (text.is_empty() || text == "null") {
        return Ok(Data::Null);
    }
    match place.kind() {
        Kind::Bool => Ok(match text {
            "true" => Data::Bool(true),
            "false" => Data::Bool(false),
            _ => word(text),
        }),
        Kind::List if text.starts_with('[') => inline(text),
        Kind::List => Ok(Data::List(
            text.split(',')
                .filter(|item| !item.trim().is_empty())
                .map(|item| Node::new(origin.clone(), word(item)))
                .collect(),
        )),
        Kind::Section | Kind::Map if text.is_empty() => Ok(Data::Map(Vec::new())),
        Kind::Section | Kind::Map if text.starts_with('{') || text.contains('\n') => inline(text),
        Kind::Section | Kind::Map if text.contains(": ") => inline(&format!("{{{text}}}")),
        Kind::Section | Kind::Map => pairs(text, origin),
        // A topic's rule is a word or a map.
        Kind::Scalar if text.starts_with('{') => inline(text),
        Kind::Scalar => Ok(word(text)),
    }
}

/// `a:1,b:2`.
fn pairs(text: &str, origin: &Origin) -> Result<Data, Problem> {
    let entries = text.split(',').map(|pair| {
        let (key, value) = pair.rsplit_once(':').ok_or_else(|| Problem {
            key: String::new(),
            origin: origin.clone(),
            message: format!("`{pair}` is not key:value (a:1,b:2, or YAML: {{a: 1, b: 2}})"),
        })?;
        let node = Node::new(origin.clone(), Data::Text(value.trim().to_owned()));
        Ok(super::tree::Entry { key: key.trim().to_owned(), origin: origin.clone(), node })
    });
    Ok(Data::Map(entries.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_are_known() {
        for name in [
            "PORT",
            "PORT_9092_TCP",
            "PORT_9092_TCP_ADDR",
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_KAFKA",
            "METRICS_SERVICE_HOST",
            "METRICS_PORT",
            "METRICS_PORT_9644_TCP_PROTO",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in ["LISTEN__BROKER_PORTS", "LOG", "UPSTREAM_BOOTSTRAP", "PORTS"] {
            assert!(!is_service_link(name), "{name}");
        }
    }

    #[test]
    fn a_pattern_keeps_its_dots() {
        let keys = Keys::new();
        let path = |key| set_path(&keys, split_key(key)).join("/");
        assert_eq!(path("menders.offset_reset.topics.orders.eu"), "menders/offset_reset/topics/orders.eu");
        assert_eq!(path("menders.offset_reset.topics.orders.eu.mode"), "menders/offset_reset/topics/orders.eu/mode");
        assert_eq!(path("log.levle.x"), "log/levle/x");
    }
}
