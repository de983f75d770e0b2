//! Patterns of topics, groups and clients (rule M6): exact names first, then the longest glob.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};

/// What the first matching pattern stands for.
#[derive(Debug, Clone)]
pub struct Patterns<T> {
    exact: BTreeMap<String, T>,
    globs: Vec<(GlobMatcher, T)>,
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Patterns { exact: BTreeMap::new(), globs: Vec::new() }
    }
}

impl<T: Clone> Patterns<T> {
    /// A pattern that does not parse matches only itself; the configuration's check names it.
    pub fn new(rules: &BTreeMap<String, T>) -> Patterns<T> {
        let mut patterns = Patterns::default();
        let mut globs: Vec<(&String, &T)> = Vec::new();
        for (pattern, value) in rules {
            if pattern.contains(['*', '?', '[', '{']) {
                globs.push((pattern, value));
            } else {
                patterns.exact.insert(pattern.clone(), value.clone());
            }
        }
        globs.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
        for (pattern, value) in globs {
            match GlobBuilder::new(pattern).literal_separator(false).build() {
                Ok(glob) => patterns.globs.push((glob.compile_matcher(), value.clone())),
                Err(_) => {
                    patterns.exact.insert(pattern.clone(), value.clone());
                }
            }
        }
        patterns
    }

    pub fn find(&self, name: &str) -> Option<&T> {
        self.exact.get(name).or_else(|| self.globs.iter().find(|(glob, _)| glob.is_match(name)).map(|(_, v)| v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_beats_long_beats_short() {
        let rules = [("orders", 1), ("orders*", 2), ("*", 3)].map(|(k, v)| (k.to_owned(), v)).into();
        let p = Patterns::new(&rules);
        assert_eq!((p.find("orders"), p.find("orders-eu"), p.find("x.y/z")), (Some(&1), Some(&2), Some(&3)));
        assert!(Patterns::<u8>::default().find("x").is_none());
    }
}
