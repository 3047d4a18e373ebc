//! Ports that somebody else took first.

use super::ServerError;

const TRIES_MAX: u32 = 3;

/// Starts with fresh ports as long as somebody else was faster, at most three times.
pub(crate) fn retried<T>(mut start: impl FnMut() -> Result<T, ServerError>) -> Result<T, ServerError> {
    let mut tries = 1;
    loop {
        match start() {
            Err(error) if is_clash(&error) && tries < TRIES_MAX => tries += 1,
            other => return other,
        }
    }
}

/// Whether another port may help.
fn is_clash(error: &ServerError) -> bool {
    matches!(error, ServerError::Died { log, .. }
        if ["Address already in use", "BindException", "already bound"].iter().any(|words| log.contains(words)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::Kind;

    #[test]
    fn only_a_clash_is_tried_again_and_not_for_ever() {
        let died = |log: &str| ServerError::Died { kind: Kind::Kafka, log: log.into() };
        let check = |log: &str, expected: u32| {
            let mut starts = 0;
            let result = retried(|| -> Result<(), _> {
                starts += 1;
                Err(died(log))
            });
            assert!(result.is_err());
            assert_eq!(starts, expected, "{log}");
        };
        check("java.net.BindException: Address already in use", 3);
        check("out of memory", 1);
        let mut starts = 0;
        retried(|| {
            starts += 1;
            if starts == 1 { Err(died("Address already in use")) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(starts, 2);
    }
}
