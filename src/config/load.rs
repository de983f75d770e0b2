//! From sources to a checked configuration: layers, one above the other.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use figment::Figment;
use figment::error::Kind;
use figment::providers::Serialized;

use super::error::{ConfigError, Problem};
use super::keys::{Keys, similar};
use super::model::Config;
use super::provenance::{KeyPath, Origin, Provenance, join_key};
use super::tree::{Data, Node};
use super::units::HostPort;
use super::{dev, text_layer, validate, yaml};

/// Where the configuration comes from, from the weakest to the strongest layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// `kmend dev`: its own defaults.
    pub dev: bool,
    /// Later files win.
    pub files: Vec<PathBuf>,
    /// The environment as it was at the start; only names with the prefix `KMEND_` count.
    pub env: Vec<(String, String)>,
    /// `key=value`.
    pub sets: Vec<String>,
    pub flags: Flags,
}

/// The flags that have a key of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    pub upstream: Vec<HostPort>,
    pub listen: Vec<HostPort>,
    pub admin: Option<HostPort>,
}

/// A checked configuration, where each key came from, and what a person should know.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    pub provenance: Provenance,
    pub notes: Vec<String>,
}

impl Loaded {
    /// What the values mean together; empty for what [`load`] returns.
    pub fn problems(&self) -> Vec<Problem> {
        validate::problems(&self.config, &self.provenance)
    }
}

impl Sources {
    /// What the files hold, as a number: another one once anything of them has changed.
    pub fn content(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in &self.files {
            std::fs::read(file).ok().hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The environment of this process, as far as it concerns kmend.
    pub fn process_env() -> Vec<(String, String)> {
        let mut env: Vec<_> = std::env::vars_os()
            .map(|(name, text)| {
                let name = name.to_string_lossy().into_owned();
                (name, text.to_string_lossy().into_owned())
            })
            .filter(|(name, _)| name.starts_with("KMEND_"))
            .collect();
        env.sort();
        env
    }
}

/// Reads all sources and checks the whole.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let loaded = read(sources)?;
    let problems = loaded.problems();
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    Ok(loaded)
}

/// Reads all sources; what the values mean together is not checked.
pub fn read(sources: &Sources) -> Result<Loaded, ConfigError> {
    let keys = Keys::new();
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    let layers = layers(&keys, sources, &mut problems, &mut notes);
    resolve(&keys, sources, layers, problems, notes)
}

/// Reads a text as if it stood in the only file.
#[cfg(any(test, fuzzing))]
pub fn read_text(text: &str, sources: &Sources) -> Result<Loaded, ConfigError> {
    let keys = Keys::new();
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    let mut found = layers(&keys, sources, &mut problems, &mut notes);
    match yaml::parse_text(text) {
        Ok(layer) => found.insert(0, layer),
        Err(problem) => problems.push(problem),
    }
    resolve(&keys, sources, found, problems, notes)
}

fn resolve(
    keys: &Keys,
    sources: &Sources,
    mut layers: Vec<Node>,
    mut problems: Vec<Problem>,
    mut notes: Vec<String>,
) -> Result<Loaded, ConfigError> {
    for layer in &mut layers {
        keys.check(layer, &mut problems);
    }
    let mut provenance = Provenance::default();
    for layer in &layers {
        layer.record(&mut provenance);
    }
    match (merge(&layers).extract::<Config>(), problems.is_empty()) {
        (Ok(mut config), true) => {
            if sources.dev {
                dev::choose_addresses(&mut config, &mut provenance);
            }
            notes.extend(validate::notes(&config));
            Ok(Loaded { config, provenance, notes })
        }
        (Ok(_), false) => Err(ConfigError { problems }),
        (Err(error), _) => {
            for problem in type_problems(&layers, &provenance, &error) {
                // The check of the keys may have said it better.
                if !problems.iter().any(|known| known.key == problem.key) {
                    problems.push(problem);
                }
            }
            Err(ConfigError { problems })
        }
    }
}

fn layers(keys: &Keys, sources: &Sources, problems: &mut Vec<Problem>, notes: &mut Vec<String>) -> Vec<Node> {
    let mut layers = Vec::new();
    if sources.dev {
        layers.extend(dev::layers());
    }
    let mut settings: Vec<_> = sources.files.iter().map(|file| yaml::read_file(file)).collect();
    let (env, service_links) = text_layer::from_env(keys, &sources.env);
    settings.extend(env);
    settings.extend(text_layer::from_sets(keys, &sources.sets));
    for setting in settings {
        match setting {
            Ok(layer) => layers.push(layer),
            Err(problem) => problems.push(problem),
        }
    }
    layers.extend(text_layer::from_flags(&sources.flags));
    if !service_links.is_empty() {
        notes.push(format!(
            "ignored {}: Kubernetes sets such variables for a Service of this name \
             (enableServiceLinks: false in the pod turns them off)",
            service_links.join(", ")
        ));
    }
    layers
}

fn merge(layers: &[Node]) -> Figment {
    let defaults = Figment::from(Serialized::defaults(Config::default()));
    layers.iter().fold(defaults, |figment, layer| figment.merge(layer.clone()))
}

/// Every value that has the wrong type, each at its own place. figment stops at the first one and
/// knows no lines, so each value that won is tried alone.
fn type_problems(layers: &[Node], provenance: &Provenance, first: &figment::Error) -> Vec<Problem> {
    let mut problems = Vec::new();
    for layer in layers {
        for (path, leaf) in layer.leaves() {
            if provenance.of(&path) == leaf.origin {
                problems.extend(leaf_problem(&path, leaf));
            }
        }
    }
    if problems.is_empty() {
        // Only the values together are wrong.
        problems.push(Problem {
            key: join_key(&first.path),
            origin: provenance.of(&first.path),
            message: describe(&first.kind),
        });
    }
    problems
}

fn leaf_problem(path: &KeyPath, leaf: &Node) -> Option<Problem> {
    let error = |node: &Node| {
        let layer = [node.clone().at_path(path)];
        merge(&layer).extract::<Config>().err()
    };
    let whole = error(leaf)?;
    // The item that is at fault has a line of its own.
    if let Data::List(items) = &leaf.data {
        for item in items {
            let list = Node::new(item.origin.clone(), Data::List(vec![item.clone()]));
            if let Some(error) = error(&list) {
                return Some(problem(path, &item.origin, &error));
            }
        }
    }
    Some(problem(path, &leaf.origin, &whole))
}

fn problem(path: &KeyPath, origin: &Origin, error: &figment::Error) -> Problem {
    Problem { key: join_key(path), origin: origin.clone(), message: describe(&error.kind) }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.clone(),
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            let expected = match expected.as_str() {
                "a boolean" => "true or false",
                other => other,
            };
            format!("found {found}, expected {expected}")
        }
        Kind::UnknownVariant(found, valid) => {
            let meant =
                similar(found, valid.iter().copied()).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            format!("`{found}` is not one of {}{meant}", valid.join(", "))
        }
        Kind::MissingField(name) => format!("needs the key `{name}`"),
        other => other.to_string(),
    }
}
