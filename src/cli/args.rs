//! What can be written on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::units::HostPort;
use crate::config::{Flags, Sources};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("KMEND_BUILD_COMMIT"), ")");

const EXIT_CODES: &str = "Exit codes: 0 done, 64 wrong usage, 69 the upstream is unavailable, \
                          78 the configuration is wrong.";

/// A Kafka-wire-compatible proxy sidecar that mends the failures Kafka clients are known for.
///
/// Set your app's bootstrap.servers to kmend. Without a command, kmend does what `kmend run` does,
/// where a configuration is given.
#[derive(Debug, Parser)]
#[command(name = "kmend", version = VERSION, after_help = EXIT_CODES)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run as a sidecar
    Run(RunArgs),
    /// Local development: no configuration needed, all menders on, logs for people
    Dev(RunArgs),
    /// Validate the configuration and, with --connect, reach the cluster
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// Look at this host, every bootstrap address and every broker, step by step
        #[arg(long)]
        connect: bool,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// What a running kmend sees and does: clients, groups, partitions, lag, repairs
    Status(StatusArgs),
    /// Print the effective configuration, each key with where it came from, secrets redacted
    Config(ConfigArgs),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print the repairs that were made, and how to go back
    Checkpoints {
        /// The folder of the journal, where it is not the configured one
        dir: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// The journal of commits
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Print a shell's completions
    Completions { shell: Shell },
    /// Print the manual page
    Man,
}

#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    /// Print what kmend has promised and the broker does not have yet; changes nothing, also while
    /// kmend runs
    Inspect {
        /// The folder of the journal, where it is not the configured one
        dir: Option<PathBuf>,
        /// For programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The running kmend's admin address; without it, the configured one (admin.address)
    #[arg(long, value_name = "URL", value_parser = super::status::url)]
    pub admin: Option<HostPort>,
    /// Again each second, until Ctrl+C; without a terminal: each repair as it comes, one line each
    #[arg(long)]
    pub watch: bool,
    /// For programs; with --watch, one object a line
    #[arg(long)]
    pub json: bool,
    /// A configuration file (YAML) of the running kmend; may be given several times, later ones win
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
}

#[derive(Debug, Args, Default)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Where the configuration comes from; flags win over everything.
#[derive(Debug, Args, Default)]
pub(super) struct ConfigArgs {
    /// A configuration file (YAML); may be given several times, later ones win
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Set one key, such as log.level=debug
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A broker to start from (upstream.bootstrap)
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub upstream: Vec<HostPort>,
    /// Where clients connect (listen.address)
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub listen: Vec<HostPort>,
    /// Where the admin server listens (admin.address)
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<HostPort>,
}

impl ConfigArgs {
    pub(super) fn sources(self, dev: bool) -> Sources {
        Sources {
            dev,
            files: self.config,
            env: Sources::process_env(),
            sets: self.set,
            flags: Flags { upstream: self.upstream, listen: self.listen, admin: self.admin },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
