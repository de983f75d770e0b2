//! A configuration file, and the ways in which such files change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::Kmend;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As a kubelet updates a ConfigMap's volume: the link `..data` leads to another folder from one moment to the next.
    ConfigMap,
    /// As editors and configuration management do it: another file takes the name.
    Rename,
    /// Written where it is, and SIGHUP.
    HangUp,
}

impl Way {
    pub const ALL: [Way; 3] = [Way::ConfigMap, Way::Rename, Way::HangUp];

    /// How the change of that number is made: five of ten as Kubernetes does it.
    pub fn of(n: usize) -> Way {
        match n % 10 {
            0..5 => Way::ConfigMap,
            5..7 => Way::Rename,
            _ => Way::HangUp,
        }
    }
}

/// What a file holds, and where it lies.
pub struct Written {
    pub file: PathBuf,
    pub value: Value,
    /// Folders that `..data` has led to.
    versions: usize,
}

impl Written {
    /// Makes a plain file one of a ConfigMap's volume.
    pub fn take_over(file: &Path) -> Written {
        let text = fs::read_to_string(file).expect("the configuration");
        let mut written =
            Written { file: file.to_owned(), value: serde_json::from_str(&text).expect("JSON"), versions: 0 };
        fs::remove_file(file).expect("the configuration");
        let text = yaml(&written.value);
        written.swap(&text);
        written
    }

    /// Sets one key; when that was done.
    pub fn set(&mut self, pointer: &str, value: Value, way: Way, kmend: &Kmend) -> Instant {
        put(&mut self.value, pointer, value);
        let text = yaml(&self.value);
        self.write(&text, way, kmend)
    }

    /// Puts a text in the file's place; when that was done.
    pub fn write(&mut self, text: &str, way: Way, kmend: &Kmend) -> Instant {
        match way {
            Way::ConfigMap => self.swap(text),
            Way::Rename => {
                let other = self.file.with_extension("new");
                fs::write(&other, text).expect("another file");
                fs::rename(&other, &self.file).expect("a rename");
            }
            Way::HangUp => {
                fs::write(&self.file, text).expect("the configuration");
                kmend.hang_up();
            }
        }
        Instant::now()
    }

    fn swap(&mut self, text: &str) {
        let dir = self.file.parent().expect("a folder").to_owned();
        let name = self.file.file_name().expect("a name").to_owned();
        let (data, before) = (dir.join("..data"), fs::read_link(dir.join("..data")).ok());
        self.versions += 1;
        let version = format!("..version-{}", self.versions);
        fs::create_dir(dir.join(&version)).expect("a folder");
        fs::write(dir.join(&version).join(&name), text).expect("the configuration");
        let link = |to: &Path, at: &Path| {
            let other = dir.join("..tmp");
            symlink(to, &other).and_then(|()| fs::rename(&other, at)).expect("a link");
        };
        link(Path::new(&version), &data);
        if fs::read_link(&self.file).is_err() {
            // The first time, and where a plain file has taken its place.
            link(&Path::new("..data").join(&name), &self.file);
        }
        if let Some(before) = before {
            fs::remove_dir_all(dir.join(before)).expect("the folder before");
        }
    }
}

/// Sets a key, with all the maps on its way.
pub fn put(config: &mut Value, pointer: &str, value: Value) {
    let at = pointer.split('/').skip(1).fold(config, |map, name| {
        if map[name].is_null() {
            map[name] = json!({});
        }
        &mut map[name]
    });
    *at = value;
}

/// A key on each line, so that an error has a line of its own to name.
pub fn yaml(config: &Value) -> String {
    fn write(value: &Value, indent: usize, text: &mut String) {
        for (name, value) in value.as_object().expect("a map") {
            let key = " ".repeat(indent) + &Value::from(name.as_str()).to_string() + ":";
            if value.is_object() {
                text.push_str(&format!("{key}\n"));
                write(value, indent + 2, text);
            } else {
                text.push_str(&format!("{key} {value}\n"));
            }
        }
    }
    let mut text = String::new();
    write(config, 0, &mut text);
    text
}
