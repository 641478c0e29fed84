//! The manual pages and the shells' completions, made of the very description by which the command line is read.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// What the page about the whole program says besides its commands.
const MORE: &str = include_str!("manual/more.roff");

/// Where each shell looks for completions, below a `share` folder.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/mxtrunk"),
    (Shell::Zsh, "zsh/vendor-completions/_mxtrunk"),
    (Shell::Fish, "fish/vendor_completions.d/mxtrunk.fish"),
];

/// Writes all of them below `share` (`/usr/share`, `/usr/local/share`), where man and the shells look for them.
pub(crate) fn write(command: Command, share: &Path) -> anyhow::Result<()> {
    let pages = share.join("man/man1");
    fs::create_dir_all(&pages).with_context(|| pages.display().to_string())?;
    clap_mangen::generate_to(command.clone(), &pages)
        .with_context(|| pages.display().to_string())?;
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    page.extend_from_slice(MORE.as_bytes());
    put(&pages.join("mxtrunk.1"), &page)?;
    for (shell, path) in COMPLETIONS {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), "mxtrunk", &mut script);
        put(&share.join(path), &script)?;
    }
    Ok(())
}

fn put(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, contents).with_context(|| path.display().to_string())
}
