//! A configuration that cannot work, told apart from what may go away by itself.

use std::fmt;

/// Exit code of a command whose configuration is refused: `EX_CONFIG` of sysexits.h. Whoever starts it again gets it again.
pub(crate) const EXIT_CODE: u8 = 78;

/// Says what has to be changed before anything can start.
#[derive(Debug)]
pub(crate) struct Refused(anyhow::Error);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// Whatever is wrong is the configuration's.
    pub(super) fn unless<T>(checked: anyhow::Result<T>) -> anyhow::Result<T> {
        checked.map_err(|error| anyhow::Error::new(Self(error)))
    }

    /// Whether this is why a command ended.
    pub(crate) fn is_in(error: &anyhow::Error) -> bool {
        error.chain().any(|cause| cause.is::<Self>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};

    #[test]
    fn it_is_found_below_what_was_said_of_it_and_says_everything_once() {
        let refused = Refused::unless::<()>(Err(anyhow!("a").context("b"))).context("c").unwrap_err();
        assert!(Refused::is_in(&refused));
        assert_eq!(format!("{refused:#}"), "c: b: a");
        assert!(!Refused::is_in(&anyhow!("a").context("b")));
        assert!(Refused::unless(Ok(1)).is_ok());
    }
}
