//! Secrets from files: read anew for each login, so that a rotated one is used without a reload, and wiped after use.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::error::LoginError;

/// Longer is no secret but a wrong file.
const LONGEST: u64 = 64 * 1024;

/// What proves who kmend is.
#[derive(Clone)]
pub enum Secret {
    Password { username: String, password: Zeroizing<String> },
    Token { token: Zeroizing<String>, extensions: BTreeMap<String, String> },
}

/// Says nothing of what is in it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Secret::Password { .. } => "Password",
            Secret::Token { .. } => "Token",
        })
    }
}

/// Reads the secret in a file. A line break at its end is the editor's.
pub async fn read(key: &'static str, path: &Path) -> Result<Zeroizing<String>, LoginError> {
    let owned = path.to_owned();
    // Secrets may lie on a network's file system.
    let read = tokio::task::spawn_blocking(move || {
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(&owned)?.take(LONGEST + 1).read_to_string(&mut text)?;
        Ok(text)
    });
    let read = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let mut text = read.map_err(|source| LoginError::File { key, path: path.to_owned(), source })?;
    let content = |why| LoginError::Content { key, path: path.to_owned(), why };
    if text.len() as u64 > LONGEST {
        return Err(content("is too long for a secret"));
    }
    let kept = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(kept);
    if text.is_empty() {
        return Err(content("is empty"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_line_break_at_the_end_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        for (text, expected) in [("secret", "secret"), ("secret\n", "secret"), ("two words \r\n", "two words ")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(*read("key", &path).await.unwrap(), expected);
        }
        for (text, why) in [("\n".to_owned(), "is empty"), ("x".repeat(70_000), "too long")] {
            std::fs::write(&path, text).unwrap();
            assert!(read("key", &path).await.unwrap_err().to_string().contains(why));
        }
        let gone = read("upstream.sasl.password_file", &dir.path().join("none")).await.unwrap_err();
        assert!(gone.to_string().starts_with("upstream.sasl.password_file: "), "{gone}");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::Password { username: "alice".into(), password: Zeroizing::new("hidden".into()) };
        assert_eq!(format!("{secret:?}"), "Password");
    }
}
