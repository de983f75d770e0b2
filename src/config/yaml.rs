//! Reading YAML into a [`Node`], with line and column of every key and value.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::error::Problem;
use super::provenance::Origin;
use super::tree::{Data, Entry, Node};

/// Reads a file.
pub(super) fn read_file(path: &Path) -> Result<Node, Problem> {
    let at = |line, column| Origin::File { path: path.to_owned(), line, column };
    let text = std::fs::read_to_string(path).map_err(|error| Problem {
        key: String::new(),
        origin: at(0, 0),
        message: format!("the file cannot be read: {error}"),
    })?;
    parse(&text, &at)
}

/// Reads the text of a file that is not there.
#[cfg(any(test, fuzzing))]
pub(super) fn parse_text(text: &str) -> Result<Node, Problem> {
    parse(text, &|line, column| Origin::File { path: "kmend.yaml".into(), line, column })
}

/// Reads a text from elsewhere (a variable, a flag): all of it has one origin.
pub(super) fn parse_inline(text: &str, origin: &Origin) -> Result<Node, Problem> {
    parse(text, &|_, _| origin.clone())
}

fn parse(text: &str, at: &dyn Fn(u64, u64) -> Origin) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        // Only `true` and `false`: `mode: off` is a word.
        strict_booleans: true,
        with_snippet: false,
    };
    let raw: Option<Spanned<Raw>> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| syntax_error(&error, at))?;
    Ok(match raw {
        Some(raw) => place(raw, at),
        None => Node::new(at(1, 1), Data::Null),
    })
}

fn syntax_error(error: &serde_saphyr::Error, at: &dyn Fn(u64, u64) -> Origin) -> Problem {
    let (line, column) = error.location().map_or((0, 0), |location| (location.line(), location.column()));
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    // The position stands in front already.
    let text = text.split(" at line ").next().unwrap_or(text);
    let text = text.strip_prefix("error: ").unwrap_or(text);
    // Advice for programmers.
    let text = text.split(", set ").next().unwrap_or(text);
    let text = match text.split_once("column ") {
        Some((head, rest)) if head.starts_with("line ") => rest.split_once(": ").map_or(text, |(_, message)| message),
        _ => text,
    };
    Problem { key: String::new(), origin: at(line, column), message: format!("not valid YAML: {text}") }
}

fn place(raw: Spanned<Raw>, at: &dyn Fn(u64, u64) -> Origin) -> Node {
    let origin = locate(&raw.referenced, at);
    let data = match raw.value {
        Raw::Leaf(data) => data,
        Raw::List(items) => Data::List(items.into_iter().map(|item| place(item, at)).collect()),
        Raw::Map(entries) => Data::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    origin: locate(&key.referenced, at),
                    key: key.value,
                    node: place(value, at),
                })
                .collect(),
        ),
    };
    Node::new(origin, data)
}

fn locate(location: &Location, at: &dyn Fn(u64, u64) -> Origin) -> Origin {
    at(location.line(), location.column())
}

enum Raw {
    Leaf(Data),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Leaf(Data::Bool(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Leaf(Data::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Leaf(match u64::try_from(value) {
            Ok(value) => Data::Unsigned(value),
            Err(_) => Data::Signed(value),
        }))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Leaf(Data::Float(value)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Leaf(Data::Text(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Leaf(Data::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Leaf(Data::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, String)> {
        let at = |line, column| Origin::Env(format!("{line}:{column}"));
        let node = parse(text, &at).unwrap();
        node.leaves()
            .into_iter()
            .map(|(path, leaf)| (path.join("/"), leaf.origin.to_string()))
            .map(|(path, origin)| (path, origin.replace("environment variable ", "")))
            .collect()
    }

    #[test]
    fn values_know_their_place() {
        let text = "a:\n  b: off\n  \"c.d\": [1, 2]\n# nothing\ne: {f: null}\n";
        let expected = [("a/b", "2:6"), ("a/c.d", "3:10"), ("e/f", "5:8")];
        let expected: Vec<_> = expected.iter().map(|(path, place)| (path.to_string(), place.to_string())).collect();
        assert_eq!(lines(text), expected);
    }

    #[test]
    fn off_is_a_word() {
        let node = parse_inline("off", &Origin::Default).unwrap();
        assert_eq!(node.data, Data::Text("off".into()));
    }

    #[test]
    fn an_empty_file_is_no_mistake() {
        for text in ["", "# only a comment\n", "---\n"] {
            let node = parse_inline(text, &Origin::Default).unwrap();
            assert_eq!(node.data, Data::Null);
        }
    }

    #[test]
    fn syntax_errors_say_where() {
        let at = |line, column| Origin::Env(format!("{line}:{column}"));
        for (text, place) in [("a: [1\nb: 2\n", "2"), ("a: 1\na: 2\n", "2"), ("a: 1\n b: 2\n", "2")] {
            let problem = parse(text, &at).unwrap_err();
            let shown = problem.to_string();
            assert!(shown.starts_with(&format!("environment variable {place}:")), "{shown}");
            assert!(!problem.message.contains("line"), "{shown}");
        }
    }
}
