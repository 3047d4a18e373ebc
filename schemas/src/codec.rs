//! The Confluent wire format: a zero byte, the schema's id (four bytes, big endian), Avro binary.
//!
//! Source: <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>.
//! Which id stands there is the matter of [`crate::ids`].

use crate::ids::{Found, Ids};
use apache_avro::{Schema, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::sync::LazyLock;

const MAGIC: u8 = 0;
const PREFIX_BYTES: usize = 5;

/// A value that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode {what}: {detail}")]
pub struct EncodeError {
    /// The record's name.
    pub what: &'static str,
    /// What Avro said.
    pub detail: String,
}

/// Bytes that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than the prefix, or another first byte.
    #[error("not in the Confluent wire format")]
    NotFramed,
    /// Written with a schema that is not one of this record.
    #[error("written with schema {found}, which is {other}; expected {what}")]
    OtherSchema {
        /// The id that stood there.
        found: u32,
        /// What the id stands for.
        other: String,
        /// The record's name.
        what: &'static str,
    },
    /// Written with a schema that is not known here yet. That says nothing about the record: try again.
    #[error("written with schema {found}, which is not known here yet: {why}")]
    Unresolved {
        /// The id that stood there.
        found: u32,
        /// What to wait for or do.
        why: String,
    },
    /// Framed, but not what the schema says.
    #[error("cannot decode {what}: {detail}")]
    Malformed {
        /// The record's name.
        what: &'static str,
        /// What was wrong.
        detail: String,
    },
}

impl DecodeError {
    /// Whether the same bytes may be read later: never a reason for a dead letter.
    pub const fn is_unresolved(&self) -> bool {
        matches!(self, Self::Unresolved { .. })
    }
}

/// A record type with its schema. Reader and writer are made once: each resolves every name of the schema.
pub struct Codec {
    /// The record's name, without its namespace.
    pub name: &'static str,
    /// Which record of this project it is, from 1; never given to another.
    pub number: u8,
    /// The embedded id of the current schema.
    pub id: u32,
    /// The current schema as it is written down.
    pub text: &'static str,
    schema: &'static Schema,
    reader: GenericDatumReader<'static>,
    writer: GenericDatumWriter<'static>,
    /// Readers of the released schemas before the current one, oldest first.
    older: Vec<GenericDatumReader<'static>>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Codec {
    /// Reads a schema that is part of this build, and those that were released before it, oldest first. `number` is 1 to
    /// [`RECORDS_MAX`](crate::ids::RECORDS_MAX).
    #[expect(clippy::panic, reason = "the schemas are compiled in; a test reads every one")]
    pub fn embedded(name: &'static str, number: u8, text: &'static str, older: &[&str]) -> Self {
        match Self::read_schemas(name, number, text, older) {
            Ok(codec) => codec,
            Err(error) => panic!("schema {name}: {error}"),
        }
    }

    fn read_schemas(
        name: &'static str,
        number: u8,
        text: &'static str,
        older: &[&str],
    ) -> Result<Self, apache_avro::Error> {
        let schema: &'static Schema = Box::leak(Box::new(Schema::parse_str(text)?));
        let reader = GenericDatumReader::builder(schema).build()?;
        let writer = GenericDatumWriter::builder(schema).validate(false).build()?;
        let id = crate::ids::embedded_id(number, older.len());
        let older: Result<Vec<_>, _> =
            older.iter().map(|text| resolving(text, schema).map(|(_, reader)| reader)).collect();
        Ok(Self { name, number, id, text, schema, reader, writer, older: older? })
    }

    /// The schema itself.
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// The record's name with its namespace, e.g. `quell.v1.Delta`.
    pub fn full_name(&self) -> String {
        full_name(self.schema).unwrap_or_default()
    }

    /// The reader of a released schema before the current one.
    pub(crate) fn older(&self, revision: usize) -> Option<&GenericDatumReader<'static>> {
        self.older.get(revision)
    }
}

/// A schema's full name; `None` where it is no record.
pub(crate) fn full_name(schema: &Schema) -> Option<String> {
    match schema {
        Schema::Record(record) => Some(record.name.fullname(None)),
        _ => None,
    }
}

/// A reader of what was written with another schema of a record that is ours. It is kept until the process ends.
pub(crate) fn resolving(
    written: &str,
    ours: &'static Schema,
) -> Result<(&'static Schema, GenericDatumReader<'static>), apache_avro::Error> {
    let written: &'static Schema = Box::leak(Box::new(Schema::parse_str(written)?));
    let reader = GenericDatumReader::builder(written).reader_schema(ours).build()?;
    Ok((written, reader))
}

/// A type that lies in a topic.
pub trait Wire: Serialize + DeserializeOwned {
    /// Its schema.
    fn codec() -> &'static LazyLock<Codec>;
}

/// Writes a value with its prefix, by the ids of this process.
pub fn encode<T: Wire>(value: &T) -> Result<Bytes, EncodeError> {
    Ids::process().encode(value)
}

/// Reads a value of one type, by the ids of this process. What was written with a schema that is neither of this build nor
/// learnt yet is [`DecodeError::Unresolved`]: call [`ready`](crate::ready) before.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    Ids::process().decode(bytes)
}

/// Whether framed bytes hold a record of this type, readable or not. `false` also where the id is not known yet.
pub fn is<T: Wire>(bytes: &[u8]) -> bool {
    schema_id(bytes).is_ok_and(|id| Ids::process().is_of(T::codec(), id))
}

/// Writes a value with its embedded id whatever registry is in use: for what leaves the installation as a file.
pub fn encode_embedded<T: Wire>(value: &T) -> Result<Bytes, EncodeError> {
    write(T::codec(), T::codec().id, value)
}

/// The schema id of framed bytes.
pub fn schema_id(bytes: &[u8]) -> Result<u32, DecodeError> {
    match bytes {
        [MAGIC, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => Err(DecodeError::NotFramed),
    }
}

/// What every value begins with.
pub(crate) const fn prefix(id: u32) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = id.to_be_bytes();
    [MAGIC, a, b, c, d]
}

pub(crate) fn write<T: Wire>(codec: &Codec, id: u32, value: &T) -> Result<Bytes, EncodeError> {
    let fail = |error: apache_avro::Error| EncodeError { what: codec.name, detail: error.to_string() };
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(&prefix(id));
    codec.writer.write_ser(&mut out, value).map_err(fail)?;
    Ok(Bytes::from(out))
}

pub(crate) fn read<T: Wire>(codec: &Codec, found: Found<'_>, bytes: &[u8]) -> Result<T, DecodeError> {
    let mut body = bytes.get(PREFIX_BYTES..).ok_or(DecodeError::NotFramed)?;
    let read = match found {
        Found::Current => codec.reader.read_deser(&mut body),
        Found::Other(reader) => reader.read_value(&mut body).and_then(|value| apache_avro::from_value(&value)),
    };
    read.map_err(|error| DecodeError::Malformed { what: codec.name, detail: error.to_string() })
}
