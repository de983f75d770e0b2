//! A layer before it is typed: values that know where they were written.

use figment::value::{Dict, Empty, Map, Tag, Value};
use figment::{Error, Metadata, Profile, Provider};

use super::provenance::{KeyPath, Origin, Provenance};

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub origin: Origin,
    pub data: Data,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    /// Where the key itself stands.
    pub origin: Origin,
    pub node: Node,
}

impl Node {
    pub(super) fn new(origin: Origin, data: Data) -> Self {
        Self { origin, data }
    }

    /// The value at the end of a path of maps.
    pub(super) fn at_path(self, path: &[String]) -> Self {
        path.iter().rev().fold(self, |node, key| {
            let origin = node.origin.clone();
            let entry = Entry { key: key.clone(), origin: origin.clone(), node };
            Node::new(origin, Data::Map(vec![entry]))
        })
    }

    /// Every value that is not itself a map with entries.
    pub(super) fn leaves(&self) -> Vec<(KeyPath, &Node)> {
        let mut leaves = Vec::new();
        self.collect(&mut Vec::new(), &mut leaves);
        leaves
    }

    fn collect<'a>(&'a self, path: &mut KeyPath, leaves: &mut Vec<(KeyPath, &'a Node)>) {
        match &self.data {
            Data::Map(entries) if !entries.is_empty() => {
                for entry in entries {
                    path.push(entry.key.clone());
                    entry.node.collect(path, leaves);
                    path.pop();
                }
            }
            _ => leaves.push((path.clone(), self)),
        }
    }

    pub(super) fn record(&self, provenance: &mut Provenance) {
        for (path, leaf) in self.leaves() {
            if !path.is_empty() {
                provenance.set(&path, leaf.origin.clone());
            }
        }
    }

    fn value(&self) -> Value {
        match &self.data {
            Data::Null => Value::Empty(Tag::Default, Empty::None),
            Data::Bool(value) => Value::from(*value),
            Data::Unsigned(value) => Value::from(*value),
            Data::Signed(value) => Value::from(*value),
            Data::Float(value) => Value::from(*value),
            Data::Text(text) => Value::from(text.clone()),
            Data::List(items) => Value::from(items.iter().map(Self::value).collect::<Vec<_>>()),
            Data::Map(entries) => Value::from(dict(entries)),
        }
    }
}

fn dict(entries: &[Entry]) -> Dict {
    entries.iter().map(|entry| (entry.key.clone(), entry.node.value())).collect()
}

/// A layer for figment. The origins stay here: figment's own metadata knows no lines.
impl Provider for Node {
    fn metadata(&self) -> Metadata {
        Metadata::named("layer")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let dict = match &self.data {
            Data::Map(entries) => dict(entries),
            _ => Dict::new(),
        };
        Ok(Map::from([(Profile::Default, dict)]))
    }
}
