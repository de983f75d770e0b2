//! Logs: text on a terminal, JSON otherwise; the filter can be changed while running.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::feed::Feed;
use crate::config::model::{Log, LogFormat};
use crate::config::units::Auto;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.level: `{level}` is not a filter such as `info` or `info,kmend::session=debug`")]
    Filter {
        level: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("logs were already set up in this process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
    #[error("the log filter can no longer be changed")]
    Gone(#[source] reload::Error),
}

/// Changes the filter while running. Clones share it.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    level: Arc<Mutex<String>>,
}

impl LogHandle {
    /// Puts a new filter in force.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = filter(level)?;
        let mut now = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(filter).map_err(LogError::Gone)?;
        level.clone_into(&mut now);
        Ok(())
    }

    /// The filter in force.
    pub fn level(&self) -> String {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For tests: of a process that logs nothing.
    #[cfg(test)]
    pub fn detached(level: &str) -> (LogHandle, reload::Layer<EnvFilter, Registry>) {
        let (layer, filter) = reload::Layer::new(EnvFilter::new(level));
        (LogHandle { filter, level: Arc::new(Mutex::new(level.to_owned())) }, layer)
    }
}

/// Sets up logs for the whole process, on the standard error output; `feed` takes what menders say, at any level.
pub fn init(log: &Log, feed: &Feed) -> Result<LogHandle, LogError> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let terminal = std::io::stderr().is_terminal();
    let format = match log.format {
        Auto::Set(format) => format,
        Auto::Auto if terminal => LogFormat::Text,
        Auto::Auto => LogFormat::Json,
    };
    let layer = fmt::layer().with_writer(std::io::stderr);
    // The filter is the log's own: the feed has another.
    let layer = match format {
        LogFormat::Text => layer.with_ansi(terminal && colours_wanted()).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(true).with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(layer).with(feed.layer()).try_init().map_err(LogError::Twice)?;
    Ok(LogHandle { filter: handle, level: Arc::new(Mutex::new(log.level.clone())) })
}

/// `NO_COLOR` with any text in it turns colours off (no-color.org).
pub fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Checks a filter without putting it in force.
pub fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(level).map_err(|source| LogError::Filter { level: level.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        assert!(filter("info,kmend::session=debug").is_ok());
        assert_eq!(
            filter("kmend=loud").unwrap_err().to_string(),
            "log.level: `kmend=loud` is not a filter such as `info` or `info,kmend::session=debug`"
        );
    }
}
