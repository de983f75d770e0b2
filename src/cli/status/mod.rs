//! `kmend status`: what the status page shows, in a terminal.
//!
//! `ask` gets the [`facts`], `show` makes lines of them, `screen` keeps them on a terminal.

mod ask;
mod facts;
mod screen;
mod show;

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::runtime;
use tokio::time::MissedTickBehavior;

use self::ask::{AskError, Seen, ask};
use self::screen::{Screen, stopped};
use self::show::Paint;
use super::args::StatusArgs;
use super::out::Out;
use super::{Failed, UNAVAILABLE};
use crate::config::units::HostPort;
use crate::config::{self, ConfigError, Flags, Sources};

/// The page's own pace.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) fn run(args: StatusArgs, out: &mut Out) -> Result<(), Failed> {
    let admin = match args.admin {
        Some(admin) => admin,
        None => configured(args.config, out)?,
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        out.error(&format!("the runtime cannot start: {error}"));
        UNAVAILABLE
    })?;
    let result = runtime.block_on(async {
        match (args.watch, args.json) {
            (false, json) => once(&admin, json, out).await,
            (true, true) => objects(&admin, out).await,
            (true, false) if out.is_terminal() => screens(&admin, out).await,
            (true, false) => lines(&admin, out).await,
        }
    });
    runtime.shutdown_background();
    result.map_err(|error| {
        out.error(&error.to_string());
        UNAVAILABLE
    })
}

/// Where the kmend is that runs with the same files and environment.
fn configured(files: Vec<std::path::PathBuf>, out: &mut Out) -> Result<HostPort, Failed> {
    let flags = Flags { upstream: Vec::new(), listen: Vec::new(), admin: None };
    let sources = Sources { dev: false, files, env: Sources::process_env(), sets: Vec::new(), flags };
    let loaded = config::read(&sources).map_err(|error| {
        out.error(&error.to_string());
        ConfigError::EXIT_CODE
    })?;
    let admin = loaded.config.admin.address;
    Ok(if admin.is_unspecified() { HostPort::new("localhost", admin.port) } else { admin })
}

/// `http://HOST:PORT/`, or without what can be left out.
pub(super) fn url(text: &str) -> Result<HostPort, String> {
    if text.starts_with("https://") {
        return Err("the admin server speaks plain HTTP: expected http://HOST:PORT".to_owned());
    }
    let bare = text.strip_prefix("http://").unwrap_or(text);
    bare.strip_suffix('/').unwrap_or(bare).parse()
}

async fn once(admin: &HostPort, as_json: bool, out: &mut Out) -> Result<(), AskError> {
    let seen = ask(admin).await?;
    if as_json {
        out.text(&format!("{:#}\n", object(&seen)));
    } else {
        out.text(&show::whole(&seen, Paint(out.is_coloured()), now()));
    }
    Ok(())
}

/// What `/api/status` says, and what menders did as `events`.
fn object(seen: &Seen) -> serde_json::Value {
    let mut object = seen.status.raw.clone();
    if let Some(keys) = object.as_object_mut() {
        keys.insert("events".to_owned(), seen.events.raw.clone());
    }
    object
}

/// One object a line, each second, until nobody reads or somebody says stop.
async fn objects(admin: &HostPort, out: &mut Out) -> Result<(), AskError> {
    again(admin, async |seen| {
        let line = match seen {
            Ok(seen) => object(&seen),
            Err(error) => json!({ "error": error.to_string() }),
        };
        out.try_text(&format!("{line}\n"))
    })
    .await
}

/// Each repair as it comes.
async fn lines(admin: &HostPort, out: &mut Out) -> Result<(), AskError> {
    let paint = Paint(out.is_coloured());
    let mut last = String::new();
    let mut is_away = false;
    again(admin, async |seen| match seen {
        Ok(seen) => {
            is_away = false;
            let events = &seen.events.read;
            let known = events.iter().position(|event| event.id == last).map_or(0, |at| at + 1);
            let fresh = events.get(known..).unwrap_or_default();
            if let Some(newest) = fresh.last() {
                newest.id.clone_into(&mut last);
            }
            let text: String = fresh.iter().map(|event| show::event(event, paint) + "\n").collect();
            out.try_text(&text)
        }
        Err(error) => {
            if !std::mem::replace(&mut is_away, true) {
                out.note(&format!("{error}; asking again each second"));
            }
            Ok(())
        }
    })
    .await
}

/// All of it on one screen.
async fn screens(admin: &HostPort, out: &mut Out) -> Result<(), AskError> {
    let paint = Paint(out.is_coloured());
    let mut screen = Screen::default();
    let mut shown = Seen::default();
    again(admin, async |seen| {
        let trouble = match seen {
            Ok(seen) => {
                shown = seen;
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let (width, height) = screen::size();
        let lines = show::fitted(&shown, trouble.as_deref(), paint, now(), height);
        out.try_text(&screen.frame(&lines, width))
    })
    .await
}

/// Asks each second. The first answer must be a good one: a wrong address is told at once.
async fn again(
    admin: &HostPort,
    mut tell: impl AsyncFnMut(Result<Seen, AskError>) -> io::Result<()>,
) -> Result<(), AskError> {
    let mut stopped = std::pin::pin!(stopped());
    let mut ticks = tokio::time::interval(AGAIN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_first = true;
    loop {
        let seen = tokio::select! {
            () = &mut stopped => return Ok(()),
            seen = async { ticks.tick().await; ask(admin).await } => seen,
        };
        if std::mem::take(&mut is_first) && seen.is_err() {
            return seen.map(drop);
        }
        if tell(seen).await.is_err() {
            // Whoever read has gone.
            return Ok(());
        }
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_page_will_do() {
        for text in ["http://localhost:9644/", "http://localhost:9644", "localhost:9644"] {
            assert_eq!(url(text), Ok(HostPort::new("localhost", 9644)), "{text}");
        }
        assert_eq!(url("http://[::1]:9644/"), Ok(HostPort::new("::1", 9644)));
        assert!(url("https://localhost:9644").unwrap_err().contains("plain HTTP"));
        for text in ["http://localhost", "localhost", "http://localhost:9644/metrics", ""] {
            assert!(url(text).is_err(), "{text}");
        }
    }
}
