//! `kmend man`: one page for the program and all its commands.

use std::io;

use clap::Command;
use clap_mangen::Man;

/// The page in roff, man(7).
pub(super) fn page(mut command: Command) -> io::Result<Vec<u8>> {
    // Names become whole ones (kmend journal inspect), and `help` is there.
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone()).manual("kmend");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for inner in command.get_subcommands() {
        describe(inner, &mut page)?;
    }
    man.render_extra_section(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// A section for each command; what its own page would have as sections are parts of it.
fn describe(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    if command.get_name() == "help" || command.is_hide_set() {
        return Ok(());
    }
    let name = command.get_bin_name().unwrap_or(command.get_name());
    page.extend(format!(".SH {}\n", name.to_uppercase()).bytes());
    let man = Man::new(command.clone());
    let mut part = Vec::new();
    man.render_description_section(&mut part)?;
    man.render_synopsis_section(&mut part)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut part)?;
    }
    for line in String::from_utf8_lossy(&part).lines() {
        match line.strip_prefix(".SH ") {
            // The heading of the command says it.
            Some("DESCRIPTION") => {}
            Some(heading) => page.extend(format!(".SS {heading}\n").bytes()),
            None => page.extend(format!("{line}\n").bytes()),
        }
    }
    command.get_subcommands().try_for_each(|inner| describe(inner, page))
}
