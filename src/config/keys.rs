//! Which keys there are: read from the schema, so that there is one place that says so.

use serde_json::Value;

use super::error::Problem;
use super::provenance::{KeyPath, join_key};
use super::tree::{Data, Node};

/// The tree of valid keys.
#[derive(Debug)]
pub(super) struct Keys {
    schema: Value,
}

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Named keys.
    Section,
    /// Keys that the user chooses (patterns).
    Map,
    List,
    Bool,
    Scalar,
}

/// The alternatives of one place in the schema, references resolved.
pub(super) struct Place<'a> {
    keys: &'a Keys,
    alternatives: Vec<&'a Value>,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { schema: super::schema::schema() }
    }

    pub(super) fn root(&self) -> Place<'_> {
        self.place(&self.schema)
    }

    fn place<'a>(&'a self, schema: &'a Value) -> Place<'a> {
        let mut alternatives = Vec::new();
        self.resolve(schema, &mut alternatives);
        Place { keys: self, alternatives }
    }

    fn resolve<'a>(&'a self, schema: &'a Value, into: &mut Vec<&'a Value>) {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            if let Some(target) = self.schema.pointer(reference.trim_start_matches('#')) {
                self.resolve(target, into);
            }
            return;
        }
        for several in ["anyOf", "oneOf"] {
            if let Some(list) = schema.get(several).and_then(Value::as_array) {
                for one in list {
                    self.resolve(one, into);
                }
                return;
            }
        }
        into.push(schema);
    }

    /// Every named key and section, in the order of the schema.
    pub(super) fn all(&self) -> Vec<KeyPath> {
        let mut all = Vec::new();
        collect(&self.root(), &mut Vec::new(), &mut all);
        all
    }

    /// Finds keys that do not exist and sections that are none.
    pub(super) fn check(&self, node: &mut Node, problems: &mut Vec<Problem>) {
        check(&self.root(), node, &mut Vec::new(), problems);
    }
}

fn collect(place: &Place<'_>, path: &mut KeyPath, all: &mut Vec<KeyPath>) {
    for name in place.names() {
        path.push(name.clone());
        all.push(path.clone());
        if let Some(below) = place.child(&name)
            && below.kind() == Kind::Section
        {
            collect(&below, path, all);
        }
        path.pop();
    }
}

impl<'a> Place<'a> {
    /// The names that are valid below.
    pub(super) fn names(&self) -> Vec<String> {
        self.alternatives
            .iter()
            .filter_map(|schema| schema.get("properties")?.as_object())
            .flat_map(|properties| properties.keys().cloned())
            .collect()
    }

    /// The place of a name or a pattern below.
    pub(super) fn child(&self, name: &str) -> Option<Place<'a>> {
        self.alternatives.iter().find_map(|schema| {
            let named = schema.get("properties").and_then(|all| all.get(name));
            let free = schema.get("additionalProperties").filter(|schema| schema.is_object());
            named.or(free).map(|schema| self.keys.place(schema))
        })
    }

    pub(super) fn kind(&self) -> Kind {
        let is =
            |wanted: &str| self.alternatives.iter().any(|schema| schema.get("type").is_some_and(|kind| kind == wanted));
        if self.is_map() {
            Kind::Map
        } else if is("array") {
            Kind::List
        } else if is("object") && self.alternatives.len() == 1 {
            Kind::Section
        } else if is("boolean") {
            Kind::Bool
        } else {
            Kind::Scalar
        }
    }

    fn is_map(&self) -> bool {
        self.alternatives.iter().any(|schema| schema.get("additionalProperties").is_some_and(Value::is_object))
    }

    /// Whether `null` is a value here.
    pub(super) fn nullable(&self) -> bool {
        self.alternatives.iter().any(|schema| match schema.get("type") {
            Some(Value::Array(types)) => types.iter().any(|kind| kind == "null"),
            Some(kind) => kind == "null",
            None => false,
        })
    }
}

fn check(place: &Place<'_>, node: &mut Node, path: &mut KeyPath, problems: &mut Vec<Problem>) {
    let kind = place.kind();
    let problem = |message| Problem { key: join_key(path), origin: node.origin.clone(), message };
    match &mut node.data {
        // `upstream:` with everything below it commented out.
        Data::Null if matches!(kind, Kind::Section | Kind::Map) => {
            node.data = Data::Map(Vec::new());
        }
        Data::Null if !place.nullable() => problems.push(problem("has no value".to_owned())),
        Data::Map(entries) if !place.names().is_empty() || kind == Kind::Map => {
            entries.retain_mut(|entry| {
                path.push(entry.key.clone());
                let known = match place.child(&entry.key) {
                    Some(below) => {
                        check(&below, &mut entry.node, path, problems);
                        true
                    }
                    None => {
                        problems.push(Problem {
                            key: join_key(path),
                            origin: entry.origin.clone(),
                            message: unknown(place, path),
                        });
                        false
                    }
                };
                path.pop();
                known
            });
        }
        Data::Map(_) => problems.push(problem("expected a value, found a map".to_owned())),
        _ if kind == Kind::Section => {
            problems.push(problem(format!("expected a map with the keys {}", place.names().join(", "))))
        }
        _ if kind == Kind::Map => problems.push(problem("expected a map".to_owned())),
        _ => {}
    }
}

fn unknown(place: &Place<'_>, path: &[String]) -> String {
    match nearest(place, path) {
        Some(key) => format!("unknown key; did you mean {}?", join_key(&key)),
        None => format!("unknown key; valid here: {}", place.names().join(", ")),
    }
}

/// The valid key that was probably meant: a sibling that is spelled much alike, else a key that is
/// called so elsewhere.
fn nearest(place: &Place<'_>, path: &[String]) -> Option<KeyPath> {
    let (name, section) = path.split_last()?;
    let siblings = place.names();
    if let Some(sibling) = similar(name, siblings.iter().map(String::as_str)) {
        return Some([section, &[sibling.to_owned()]].concat());
    }
    let all = place.keys.all();
    let mut elsewhere = all.iter().filter(|key| key.last() == Some(name));
    match (elsewhere.next(), elsewhere.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => None,
    }
}

/// The candidate that is spelled most alike, if any is close enough to be meant.
pub(super) fn similar<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let name = plain(name);
    candidates
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&name, &plain(candidate));
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::super::provenance::split_key;
    use super::*;

    fn kind(key: &str) -> Kind {
        let keys = Keys::new();
        let path = split_key(key);
        path.iter().fold(keys.root(), |place, name| place.child(name).unwrap()).kind()
    }

    #[test]
    fn kinds_come_from_the_schema() {
        assert_eq!(kind("upstream"), Kind::Section);
        assert_eq!(kind("upstream.bootstrap"), Kind::List);
        assert_eq!(kind("listen.address"), Kind::List);
        assert_eq!(kind("upstream.tls.enabled"), Kind::Bool);
        assert_eq!(kind("menders.offset_reset.topics"), Kind::Map);
        assert_eq!(kind("menders.offset_reset.topics.x"), Kind::Scalar);
        assert_eq!(kind("menders.offset_reset.groups.x"), Kind::Section);
        assert_eq!(kind("limits.memory"), Kind::Scalar);
        assert_eq!(kind("log.format"), Kind::Scalar);
    }

    #[test]
    fn spelling_decides() {
        let names = ["bootstrap", "tls", "sasl", "connect_timeout"];
        let near = |name| similar(name, names.into_iter());
        assert_eq!(near("bootstrp"), Some("bootstrap"));
        assert_eq!(near("connectTimeout"), Some("connect_timeout"));
        assert_eq!(near("tsl"), Some("tls"));
        assert_eq!(near("brokers"), None);
    }
}
