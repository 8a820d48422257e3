//! Completions and man pages, from the definition and the sections beside it.
//!
//! Invariant: what is generated depends on the definition alone.

use std::io;
use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use link::Failure;
use proto::Kind;
use sys::file::Folder;

use crate::cli::{ShellArg, definition, sections};
use crate::error::{Error, chain};
use crate::message::Printer;

/// Permissions of a man page.
const PAGE_MODE: u32 = 0o644;

/// The completion script of a shell.
pub(crate) fn completion(shell: ShellArg) -> Vec<u8> {
    let shell = match shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
        ShellArg::Elvish => Shell::Elvish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "secretctl", &mut script);
    script
}

/// `man`: the page of the whole to standard output, or every page into a folder.
pub(crate) fn man(dir: Option<&Path>, printer: Printer) -> Result<(), Error> {
    let failed = |reason: String| {
        Failure::new(Kind::Invalid, "the man pages cannot be written")
            .because(reason)
            .hint("give a folder that exists and that this user may write")
    };
    let pages = pages().map_err(|error| failed(error.to_string()))?;
    let Some(dir) = dir else {
        let first = pages.first().map(|(_, page)| page.as_slice()).unwrap_or_default();
        return printer.bytes(first);
    };
    let folder = Folder::open(dir).map_err(|error| failed(chain(&error)))?;
    for (name, page) in pages {
        folder.replace(&name, PAGE_MODE, &page).map_err(|error| failed(chain(&error)))?;
    }
    Ok(())
}

/// Every page with its file name, that of the whole first.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut definition = definition().disable_help_subcommand(true);
    definition.build();
    let mut pages = Vec::new();
    add_pages(&definition, "secretctl", &mut pages)?;
    Ok(pages)
}

fn add_pages(
    command: &clap::Command,
    path: &str,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> io::Result<()> {
    let name = path.replace(' ', "-");
    pages.push((format!("{name}.1"), page(command, path)?));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        add_pages(sub, &format!("{path} {}", sub.get_name()), pages)?;
    }
    Ok(())
}

fn page(command: &clap::Command, path: &str) -> io::Result<Vec<u8>> {
    let name = path.replace(' ', "-");
    let has_subcommands = command.has_subcommands();
    // The examples are a section of their own here.
    let command = command.clone().after_long_help("").display_name(name.clone());
    let man = Man::new(command)
        .title(name.to_uppercase())
        .source(concat!("secretctl ", env!("CARGO_PKG_VERSION")))
        .manual("secretd");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if has_subcommands {
        man.render_subcommands_section(&mut out)?;
    }
    let mut roff = Roff::default();
    if let Some(examples) = sections::examples(path) {
        roff.control("SH", ["EXAMPLES"]);
        roff.control("nf", []);
        for line in examples.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    terms(&mut roff, "EXIT STATUS", sections::EXIT_STATUS);
    terms(&mut roff, "FILES", sections::FILES);
    roff.control("SH", ["SECURITY"]);
    for (number, paragraph) in sections::SECURITY.iter().enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*paragraph)]);
    }
    roff.to_writer(&mut out)?;
    Ok(out)
}

fn terms(roff: &mut Roff, heading: &str, terms: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (term, text) in terms {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*text)]);
    }
}
