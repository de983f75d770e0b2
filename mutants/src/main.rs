//! Mutation testing of kmend: all mutants in one test binary, one of them chosen at run time. See README.md.

mod explained;
mod list;
mod reach;
mod report;
mod rewrite;
mod run;
mod shape;
mod state;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

/// An error that ends the command: its text is all that anybody needs.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome<T> = Result<T, Failure>;

/// Makes mutants, runs for each the tests that reach it, and writes docs/mutants.md.
#[derive(Parser)]
#[command(name = "kmend-mutants")]
pub struct Options {
    /// Run those below these paths only, e.g. src/wire; the others keep what is known of them.
    #[arg(long)]
    only: Vec<String>,
    /// Show this one: its change and the tests that reach it; runs nothing.
    #[arg(long)]
    mutant: Option<u32>,
    /// Forget what earlier runs have found.
    #[arg(long)]
    fresh: bool,
    /// Write the document from what is known; builds and runs nothing.
    #[arg(long)]
    table: bool,
    /// With the unit tests only: tests/wire.rs is not built.
    #[arg(long)]
    unit: bool,
    /// Stop after so many minutes; the next run goes on from there.
    #[arg(long)]
    minutes: Option<u64>,
    /// Processes at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Their priority.
    #[arg(long, default_value_t = 10)]
    nice: u8,
    /// Where the document goes.
    #[arg(long, default_value = "docs/mutants.md")]
    out: PathBuf,
}

impl Options {
    fn wants(&self, file: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|path| file.starts_with(path.as_str()))
    }
}

fn main() -> ExitCode {
    match work(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kmend-mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(options: &Options) -> Outcome<()> {
    let begun = Instant::now();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no folder above")?;
    let dir = root.join("target/mutants");
    std::fs::create_dir_all(&dir)?;
    if options.fresh {
        state::forget(&dir)?;
    }
    let mutants = list::all(root, &dir)?;
    let mut state = state::State::open(&dir)?;
    if let Some(id) = options.mutant {
        let mutant = mutants.iter().find(|m| m.id == id).ok_or("there is no such mutant")?;
        return report::show(root, &dir, mutant, &state);
    }
    if !options.table {
        let built = tree::build(root, &dir, &mutants, &mut state, options)?;
        let reach = reach::record(&dir, &built, options.jobs)?;
        let until = options.minutes.map(|m| begun + Duration::from_secs(m * 60));
        let wanted = mutants.iter().filter(|m| options.wants(&m.file)).collect();
        run::all(&dir, &built, &reach, wanted, &mut state, options.jobs, until)?;
    }
    let explained = explained::read(&root.join("mutants/explained.toml"))?;
    report::write(&root.join(&options.out), &mutants, &state, &explained)
}
