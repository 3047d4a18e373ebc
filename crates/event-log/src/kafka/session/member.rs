//! Who a member is, and the names it goes by at the brokers.

use super::super::OpenError;

const NAME_BYTES_MAX: usize = 200;

/// Who a member is, over restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The instance's name: stable over its restarts, unique among those that live.
    pub instance: String,
    /// Which of the instance's workers for this group.
    pub worker: u32,
}

impl Member {
    /// `group.instance.id`, which counts within its group. Brokers take what they take as a topic's name (letters, digits,
    /// `.`, `_`, `-`, at most 249), so the number is set off by a dash: it holds none, so the last one is where it begins.
    pub(super) fn instance_id(&self) -> String {
        let Self { instance, worker } = self;
        format!("{instance}-{worker}")
    }

    /// `transactional.id`, which counts in the whole cluster. Any text will do: no name holds a slash, so no two members
    /// of whichever groups have one id. With an id in common they would end each other's transactions.
    pub(super) fn transactional_id(&self, group: &str) -> String {
        let Self { instance, worker } = self;
        format!("{group}/{instance}/{worker}")
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A name cannot be used.
    #[error("{what} {name:?}: use 1 to 200 letters, digits, dots, dashes and underscores")]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A client cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
}

pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), JoinError> {
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_sound) {
        return Ok(());
    }
    Err(JoinError::Name { what, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_checked() {
        assert!(check_name("group", "normalizer-1.a_B").is_ok());
        for name in ["", "a b", "a/b", &"x".repeat(201)] {
            assert!(matches!(check_name("group", name), Err(JoinError::Name { .. })), "{name}");
        }
    }

    #[test]
    fn no_two_members_have_an_id_in_common() {
        let parts = ["a", "b", "a-b", "b-c", "a-b-c", "c", "-", "a-", "-b", "1", "a-1", "1-1", "a.1", "a_b"];
        let (mut transactional, mut n_members) = (HashSet::new(), 0);
        for group in parts {
            let mut instances = HashSet::new();
            for instance in parts {
                for worker in [0, 1, 11, u32::MAX] {
                    assert!(check_name("instance", instance).is_ok());
                    let member = Member { instance: instance.to_owned(), worker };
                    n_members += 1;
                    let id = member.instance_id();
                    // What brokers ask of it is what we ask of a name, but for the length (KIP-345, `Topic.validate`).
                    assert!(check_name("group.instance.id", &id).is_ok(), "{id}");
                    assert!(instances.insert(id), "{member:?} within {group}");
                    assert!(transactional.insert(member.transactional_id(group)), "{group} {member:?}");
                }
            }
        }
        assert_eq!(transactional.len(), n_members);
        let longest = Member { instance: "x".repeat(NAME_BYTES_MAX), worker: u32::MAX };
        assert!(longest.instance_id().len() <= 249);
    }
}
