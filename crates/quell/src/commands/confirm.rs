//! Asking before something is changed.

use super::Output;
use anyhow::{Context as _, bail};
use clap::Args;
use std::io::{BufRead, IsTerminal as _, Write};

/// Whether to ask.
#[derive(Debug, Args)]
pub(crate) struct Confirm {
    /// Do it without asking
    #[arg(long, short)]
    yes: bool,
}

impl Confirm {
    /// Refuses at once where nobody could answer: programs, and JSON, which is one document.
    pub(super) fn require_somebody(&self, output: Output) -> anyhow::Result<()> {
        if self.yes || (output == Output::Text && std::io::stdin().is_terminal()) {
            return Ok(());
        }
        bail!("nobody can be asked here: look at what would be done with `check`, then run this again with --yes")
    }

    /// Whether to go on. Asks on standard error, and takes only `y` or `yes`.
    pub(super) fn ask(&self, question: &str) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        ask(question, &mut std::io::stdin().lock(), &mut std::io::stderr())
    }
}

fn ask(question: &str, from: &mut impl BufRead, to: &mut impl Write) -> anyhow::Result<bool> {
    write!(to, "{question} [y/N] ").and_then(|()| to.flush()).context("nobody can be asked")?;
    let mut answer = String::new();
    from.read_line(&mut answer).context("no answer can be read")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for (answer, expected) in
            [("y\n", true), ("YES\n", true), ("\n", false), ("", false), ("no\n", false), ("yep\n", false)]
        {
            let mut told = Vec::new();
            assert_eq!(ask("do it?", &mut answer.as_bytes(), &mut told).unwrap(), expected, "{answer:?}");
            assert_eq!(told, b"do it? [y/N] ");
        }
    }

    #[test]
    fn a_program_must_say_yes() {
        // Tests have no terminal, or JSON is asked for.
        assert!(Confirm { yes: false }.require_somebody(Output::Json).is_err());
        assert!(Confirm { yes: true }.require_somebody(Output::Json).is_ok());
    }
}
