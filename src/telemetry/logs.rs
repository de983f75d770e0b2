//! Logs: text on a terminal, JSON otherwise; the filter can be changed while running.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

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

/// Changes the filter while running.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// Puts a new `log.level` in force.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = filter(level)?;
        self.filter.reload(filter).map_err(LogError::Gone)
    }
}

/// Sets up logs for the whole process, on the standard error output.
pub fn init(log: &Log) -> Result<LogHandle, LogError> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let terminal = std::io::stderr().is_terminal();
    let format = match log.format {
        Auto::Set(format) => format,
        Auto::Auto if terminal => LogFormat::Text,
        Auto::Auto => LogFormat::Json,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(terminal && colours_wanted())).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_current_span(true)).try_init(),
    }
    .map_err(LogError::Twice)?;
    Ok(LogHandle { filter: handle })
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
