//! Which id stands for which schema: embedded ids, and those of a registry.
//!
//! Embedded ids lie in a range of their own, `0x5155nnrr` ("QU", number of the record, revision of its schema). Registries
//! count up from 1 and never get there, so a record with an embedded id is read by it whether a registry is in use or
//! not, and no id can mean two schemas. Once a registry is in use, records are written with its ids only.
//!
//! An id of a registry that is not ours was written by an older or newer build. [`ready`] asks the registry for it,
//! outside of [`decode`](crate::decode), which never waits. Where no registry is configured such a record waits too: other
//! processes of the same cluster have one, and this one was forgotten.

use crate::{
    codec::{self, Codec, DecodeError, EncodeError, Wire},
    wire,
};
use apache_avro::reader::datum::GenericDatumReader;
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

/// Most records that this project may have.
pub const RECORDS_MAX: usize = 15;
/// Most schemas learnt from a registry. Each is kept until the process ends; an installation has a handful.
pub const LEARNT_MAX: usize = 1_000;
/// Most ids kept in mind of which the registry says that they stand for nothing.
const REFUSED_MAX: usize = 1_000;
/// Most ids looked up for one batch; what is over is found at the next try.
const LOOKED_UP_MAX: usize = 20;

/// The ids that a registry may give: its clients hold them as positive 32-bit integers.
const REGISTRY_FIRST: u32 = 1;
const REGISTRY_LAST: u32 = 0x7fff_ffff;
const UNCONFIGURED: &str = "a registry gave this id, and no registry is configured here: set url in [registry] as the \
                            instances have it that wrote this";

const EMBEDDED: u32 = 0x5155_0000;
const EMBEDDED_MASK: u32 = 0xffff_0000;

/// The embedded id of a record's schema after `n_older` others.
pub(crate) fn embedded_id(number: u8, n_older: usize) -> u32 {
    EMBEDDED | (u32::from(number) << 8) | u32::try_from(n_older + 1).unwrap_or(u32::MAX).min(0xff)
}

/// What the registry says of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// The text of its Avro schema.
    Schema(String),
    /// It stands for nothing that can be read, now or later: the reason.
    Refused(String),
}

/// The registry cannot answer now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

/// An answer that is awaited.
pub type Resolving = Pin<Box<dyn Future<Output = Result<Resolved, Away>> + Send>>;

/// Asks the registry what an id stands for. Called from any runtime and any thread; bounded in time by itself.
pub trait Resolver: Send + Sync + fmt::Debug {
    /// Asks for one id.
    fn resolve(&self, id: u32) -> Resolving;
}

/// Ids from a registry that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// Not one for each record.
    #[error("the registry gave no id for {0}: every record needs one before any is written")]
    Missing(&'static str),
    /// Zero, or in the range of embedded ids.
    #[error(
        "the registry gave {what} the id {id}, which lies in the range of embedded ids or is 0: use another registry, or move its ids"
    )]
    Reserved {
        /// The record.
        what: &'static str,
        /// The id.
        id: u32,
    },
    /// Two records with one id, or an id that was another's before.
    #[error(
        "the registry gave {what} the id {id}, which stands for {other} already: is it the registry this log was written with?"
    )]
    Taken {
        /// The record.
        what: &'static str,
        /// The id.
        id: u32,
        /// What it stands for.
        other: String,
    },
}

/// How the bytes behind an id are read.
pub(crate) enum Found<'a> {
    /// With the current schema.
    Current,
    /// With another schema of the same record.
    Other(&'a GenericDatumReader<'static>),
}

/// An id of the registry.
#[derive(Clone)]
enum Learnt {
    /// A record of ours with its current schema.
    Current(u8),
    /// A record of ours with another schema.
    Record(u8, &'static GenericDatumReader<'static>),
    /// A record, or another schema, that is none of ours; its name.
    Foreign(String),
}

/// The ids in use. A process has one, [`Ids::process`]; tests may have more.
pub struct Ids {
    has_registry: AtomicBool,
    /// By number of the record: the registry's id of its current schema, 0 for none.
    own: [AtomicU32; RECORDS_MAX + 1],
    learnt: RwLock<BTreeMap<u32, Learnt>>,
    refused: RwLock<BTreeMap<u32, String>>,
    resolver: RwLock<Option<Arc<dyn Resolver>>>,
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_registry = self.has_registry.load(Ordering::Acquire);
        let n_learnt = held(&self.learnt).len();
        f.debug_struct("Ids").field("has_registry", &has_registry).field("learnt", &n_learnt).finish_non_exhaustive()
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::new()
    }
}

static PROCESS: Ids = Ids::new();

/// Makes sure that what was written with a registry's ids can be read: asks for those not known yet. Costs a comparison a
/// value where all are. [`DecodeError::Unresolved`] where the registry is away: wait, and try again.
pub fn ready<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> impl Future<Output = Result<(), DecodeError>> + Send {
    PROCESS.ready(values)
}

impl Ids {
    /// Embedded ids only.
    pub const fn new() -> Self {
        Self {
            has_registry: AtomicBool::new(false),
            own: [const { AtomicU32::new(0) }; RECORDS_MAX + 1],
            learnt: RwLock::new(BTreeMap::new()),
            refused: RwLock::new(BTreeMap::new()),
            resolver: RwLock::new(None),
        }
    }

    /// Those of this process.
    pub fn process() -> &'static Self {
        &PROCESS
    }

    /// Whether records are written with a registry's ids.
    pub fn has_registry(&self) -> bool {
        self.has_registry.load(Ordering::Acquire)
    }

    /// From here on records are written with these ids, one for each record of [`wire::codecs`]. All or nothing.
    pub fn adopt(&self, given: &[(u8, u32)]) -> Result<(), AdoptError> {
        let mut learnt = written(&self.learnt);
        let mut next = learnt.clone();
        for codec in wire::codecs() {
            let id = given.iter().find(|(number, _)| *number == codec.number).map(|(_, id)| *id);
            let id = id.ok_or(AdoptError::Missing(codec.name))?;
            if id == 0 || is_embedded(id) {
                return Err(AdoptError::Reserved { what: codec.name, id });
            }
            match next.insert(id, Learnt::Current(codec.number)) {
                Some(Learnt::Foreign(other)) => return Err(AdoptError::Taken { what: codec.name, id, other }),
                Some(Learnt::Current(number) | Learnt::Record(number, _)) if number != codec.number => {
                    return Err(AdoptError::Taken { what: codec.name, id, other: name_of(number) });
                }
                _ => {}
            }
        }
        *learnt = next;
        drop(learnt);
        for (number, id) in given {
            if let Some(own) = self.own.get(usize::from(*number)) {
                own.store(*id, Ordering::Release);
            }
        }
        self.has_registry.store(true, Ordering::Release);
        Ok(())
    }

    /// Who is asked for ids that are not known.
    pub fn install(&self, resolver: Arc<dyn Resolver>) {
        *written(&self.resolver) = Some(resolver);
    }

    /// Takes in what the registry says of an id. A schema stays; a refusal stays until [`Ids::forget_refused`].
    pub fn learn(&self, id: u32, resolved: Resolved) {
        let refused = match resolved {
            Resolved::Refused(why) => why,
            Resolved::Schema(text) => {
                let mut learnt = written(&self.learnt);
                if learnt.contains_key(&id) {
                    return;
                }
                if learnt.len() < LEARNT_MAX {
                    match read_schema(&text) {
                        Ok(schema) => {
                            learnt.insert(id, schema);
                            return;
                        }
                        Err(error) => format!("a schema that cannot be read: {error}"),
                    }
                } else {
                    format!(
                        "one more than the {LEARNT_MAX} schemas that are kept: start anew if all of them are needed"
                    )
                }
            }
        };
        let mut all = written(&self.refused);
        if all.len() >= REFUSED_MAX {
            all.clear();
        }
        all.insert(id, refused);
    }

    /// Forgets which ids the registry refused: it may know them by now.
    pub fn forget_refused(&self) {
        written(&self.refused).clear();
    }

    /// [`ready`], for these ids.
    pub fn ready<'a>(
        &'static self,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> impl Future<Output = Result<(), DecodeError>> + Send {
        let mut wanted = BTreeSet::new();
        if self.has_registry() {
            let ids = values.into_iter().filter_map(|value| codec::schema_id(value).ok());
            wanted.extend(ids.filter(|id| self.is_unknown(*id)).take(LOOKED_UP_MAX));
        }
        async move {
            for id in wanted {
                let Some(resolver) = held(&self.resolver).clone() else { break };
                let resolved = resolver.resolve(id).await;
                self.learn(id, resolved.map_err(|Away(why)| DecodeError::Unresolved { found: id, why })?);
            }
            Ok(())
        }
    }

    fn is_unknown(&self, id: u32) -> bool {
        let is_own = || id != 0 && self.own.iter().any(|own| own.load(Ordering::Relaxed) == id);
        let is_known = || held(&self.learnt).contains_key(&id) || held(&self.refused).contains_key(&id);
        !is_embedded(id) && !is_own() && !is_known()
    }

    /// Writes a value with its prefix.
    pub fn encode<T: Wire>(&self, value: &T) -> Result<Bytes, EncodeError> {
        let codec: &Codec = T::codec();
        codec::write(codec, self.id(codec), value)
    }

    /// The id with which a record is written.
    pub(crate) fn id(&self, codec: &Codec) -> u32 {
        match self.own(codec) {
            0 => codec.id,
            id => id,
        }
    }

    /// Reads a value of one type.
    pub fn decode<T: Wire>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        let codec: &Codec = T::codec();
        let id = codec::schema_id(bytes)?;
        codec::read(codec, self.find(codec, id)?, bytes)
    }

    /// How bytes with this id are read as this record.
    pub(crate) fn find<'a>(&self, codec: &'a Codec, id: u32) -> Result<Found<'a>, DecodeError> {
        let own = self.own(codec);
        if id == codec.id || (own != 0 && id == own) {
            return Ok(Found::Current);
        }
        if is_embedded(id) {
            return find_embedded(codec, id);
        }
        let other = |other: String| DecodeError::OtherSchema { found: id, other, what: codec.name };
        if !self.has_registry() {
            return Err(match id {
                REGISTRY_FIRST..=REGISTRY_LAST => DecodeError::Unresolved { found: id, why: UNCONFIGURED.to_owned() },
                _ => other("neither embedded nor one that a registry gives".to_owned()),
            });
        }
        match held(&self.learnt).get(&id) {
            Some(Learnt::Current(number)) if *number == codec.number => return Ok(Found::Current),
            Some(Learnt::Record(number, reader)) if *number == codec.number => return Ok(Found::Other(reader)),
            Some(Learnt::Current(number) | Learnt::Record(number, _)) => return Err(other(name_of(*number))),
            Some(Learnt::Foreign(name)) => return Err(other(name.clone())),
            None => {}
        }
        match held(&self.refused).get(&id) {
            Some(why) => Err(other(why.clone())),
            None => Err(DecodeError::Unresolved { found: id, why: "the registry was not asked for it yet".to_owned() }),
        }
    }

    /// Whether an id stands for this record.
    pub(crate) fn is_of(&self, codec: &Codec, id: u32) -> bool {
        // An embedded revision that is not known here is a newer build's.
        self.find(codec, id).is_ok() || (is_embedded(id) && number_of(id) == codec.number)
    }

    fn own(&self, codec: &Codec) -> u32 {
        self.own.get(usize::from(codec.number)).map_or(0, |own| own.load(Ordering::Relaxed))
    }
}

const fn is_embedded(id: u32) -> bool {
    id & EMBEDDED_MASK == EMBEDDED
}

/// The number of the record behind an embedded id.
const fn number_of(id: u32) -> u8 {
    let [_, _, number, _] = id.to_be_bytes();
    number
}

/// Only a build of this project writes such an id: where it says nothing here, nothing is wrong with the record.
fn find_embedded(codec: &Codec, id: u32) -> Result<Found<'_>, DecodeError> {
    let [_, _, number, revision] = id.to_be_bytes();
    let newer = |what: String| {
        let why = format!("{what} is of a newer build: upgrade this instance");
        Err(DecodeError::Unresolved { found: id, why })
    };
    if number != codec.number {
        return match known(number) {
            Some(other) => Err(DecodeError::OtherSchema { found: id, other: other.full_name(), what: codec.name }),
            None => newer(format!("record {number}")),
        };
    }
    match usize::from(revision).checked_sub(1).and_then(|revision| codec.older(revision)) {
        Some(reader) => Ok(Found::Other(reader)),
        None => newer(format!("revision {revision} of {}", codec.name)),
    }
}

fn known(number: u8) -> Option<&'static Codec> {
    wire::codecs().into_iter().find(|codec| codec.number == number)
}

fn name_of(number: u8) -> String {
    known(number).map_or_else(|| "a record of a newer build".to_owned(), Codec::full_name)
}

fn read_schema(text: &str) -> Result<Learnt, apache_avro::Error> {
    let schema = apache_avro::Schema::parse_str(text)?;
    let name = codec::full_name(&schema);
    let Some(codec) = wire::codecs().into_iter().find(|codec| name.as_deref() == Some(&codec.full_name())) else {
        return Ok(Learnt::Foreign(name.unwrap_or_else(|| "no record".to_owned())));
    };
    let (_, reader) = codec::resolving(text, codec.schema())?;
    Ok(Learnt::Record(codec.number, Box::leak(Box::new(reader))))
}

fn held<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn written<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
