//! The command line: arguments in, an exit code by sysexits out.

mod args;
mod check;
mod checkpoints;
mod dev;
mod journal;
mod man;
mod out;
mod status;
mod text;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use self::args::{Cli, Command, ConfigArgs, JournalCommand};
use self::out::Out;
use crate::app::{self, Kind, Start};
use crate::config::{self, ConfigError, Loaded, Sources};

const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const SOFTWARE: u8 = 70;

/// Why a command ended without its result; what there was to say has been said.
type Failed = u8;

/// Reads the arguments and does what they say.
pub fn main() -> ExitCode {
    let mut out = Out;
    let result = match Cli::try_parse() {
        Ok(cli) => command(cli, &mut out),
        Err(error) => {
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(()),
                _ => Err(USAGE),
            }
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => ExitCode::from(code),
    }
}

fn command(cli: Cli, out: &mut Out) -> Result<(), Failed> {
    match cli.command {
        None => alone(cli.run.config, out),
        Some(Command::Run(args)) => start(args.config.sources(false), Kind::Run, out),
        Some(Command::Dev(args)) => start(args.config.sources(true), Kind::Dev, out),
        Some(Command::Check { config, connect, json }) => {
            check::run(&config.sources(false), check::Wanted { connect, json }, out)
        }
        Some(Command::Status(args)) => status::run(args, out),
        Some(Command::Config(args)) => show(&args.sources(false), out),
        Some(Command::Schema) => {
            out.line(&format!("{:#}", config::schema()));
            Ok(())
        }
        Some(Command::Checkpoints { dir, config }) => checkpoints::run(dir, &config.sources(false), out),
        Some(Command::Journal(JournalCommand::Inspect { dir, json, config })) => {
            journal::inspect(dir, json, &config.sources(false), out)
        }
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kmend", &mut script);
            out.text(&String::from_utf8_lossy(&script));
            Ok(())
        }
        Some(Command::Man) => {
            let page = man::page(Cli::command()).map_err(|error| {
                out.error(&format!("the page cannot be made: {error}"));
                SOFTWARE
            })?;
            out.text(&String::from_utf8_lossy(&page));
            Ok(())
        }
    }
}

/// `kmend` without a command runs where somebody has said what to run on.
fn alone(args: ConfigArgs, out: &mut Out) -> Result<(), Failed> {
    let given = !args.config.is_empty()
        || !args.set.is_empty()
        || !args.upstream.is_empty()
        || !args.listen.is_empty()
        || args.admin.is_some();
    let sources = args.sources(false);
    if given || !sources.env.is_empty() {
        return start(sources, Kind::Run, out);
    }
    out.error(
        "nothing to run on: give a configuration (kmend --config FILE), or try kmend dev; \
         kmend --help lists everything",
    );
    Err(USAGE)
}

fn start(sources: Sources, kind: Kind, out: &mut Out) -> Result<(), Failed> {
    let content = sources.content();
    let loaded = load(&sources, out)?;
    if kind == Kind::Dev {
        notes(&loaded, out);
        dev::welcome(&loaded).iter().for_each(|line| out.line(line));
    }
    let start = Start { loaded, sources, content, kind };
    app::run(start).map_err(|error| {
        out.error(&crate::upstream::chain(&error));
        error.exit_code()
    })
}

fn load(sources: &Sources, out: &mut Out) -> Result<Loaded, Failed> {
    config::load(sources).map_err(|error| {
        out.error(&error.to_string());
        ConfigError::EXIT_CODE
    })
}

fn notes(loaded: &Loaded, out: &mut Out) {
    for note in &loaded.notes {
        out.note(note);
    }
}

/// `kmend config`: also what is not yet right can be looked at.
fn show(sources: &Sources, out: &mut Out) -> Result<(), Failed> {
    let loaded = config::read(sources).map_err(|error| {
        out.error(&error.to_string());
        ConfigError::EXIT_CODE
    })?;
    out.text(&config::show(&loaded.config, &loaded.provenance));
    notes(&loaded, out);
    let problems = loaded.problems();
    if problems.is_empty() {
        return Ok(());
    }
    out.error(&ConfigError { problems }.to_string());
    Err(ConfigError::EXIT_CODE)
}
