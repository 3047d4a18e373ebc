//! The Confluent wire format: a zero byte, the schema's id (four bytes, big endian), Avro binary.
//!
//! Without a registry ids are embedded: each schema here has a fixed one, and any reader of this build knows it.

use apache_avro::{Schema, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::sync::LazyLock;

const MAGIC: u8 = 0;
const PREFIX_BYTES: usize = 5;

/// A value that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode {what}: {detail}")]
pub struct EncodeError {
    /// The record's name.
    pub what: &'static str,
    /// What Avro said.
    pub detail: String,
}

/// Bytes that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than the prefix, or another first byte.
    #[error("not in the Confluent wire format")]
    NotFramed,
    /// Written with a schema that this build does not know.
    #[error("written with schema {found}, expected {expected} ({what})")]
    OtherSchema {
        /// The id that stood there.
        found: u32,
        /// The id expected.
        expected: u32,
        /// The record's name.
        what: &'static str,
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

/// A record type with its schema. Reader and writer are made once: each resolves every name of the schema.
pub struct Codec {
    /// The record's name.
    pub name: &'static str,
    /// Its embedded id.
    pub id: u32,
    schema: &'static Schema,
    reader: GenericDatumReader<'static>,
    writer: GenericDatumWriter<'static>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Codec {
    /// Reads a schema that is part of this build.
    #[expect(clippy::panic, reason = "the schemas are compiled in; a test reads every one")]
    pub fn embedded(name: &'static str, id: u32, text: &'static str) -> Self {
        match Self::read_schema(name, id, text) {
            Ok(codec) => codec,
            Err(error) => panic!("schema {name}: {error}"),
        }
    }

    fn read_schema(name: &'static str, id: u32, text: &'static str) -> Result<Self, apache_avro::Error> {
        let schema: &'static Schema = Box::leak(Box::new(Schema::parse_str(text)?));
        let reader = GenericDatumReader::builder(schema).build()?;
        let writer = GenericDatumWriter::builder(schema).validate(false).build()?;
        Ok(Self { name, id, schema, reader, writer })
    }

    /// The schema itself.
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }
}

/// A type that lies in a topic.
pub trait Wire: Serialize + DeserializeOwned {
    /// Its schema.
    fn codec() -> &'static LazyLock<Codec>;
}

/// Writes a value with its prefix.
pub fn encode<T: Wire>(value: &T) -> Result<Bytes, EncodeError> {
    let codec = T::codec();
    let fail = |error: apache_avro::Error| EncodeError { what: codec.name, detail: error.to_string() };
    let mut out = Vec::with_capacity(512);
    out.push(MAGIC);
    out.extend_from_slice(&codec.id.to_be_bytes());
    codec.writer.write_ser(&mut out, value).map_err(fail)?;
    Ok(Bytes::from(out))
}

/// The schema id of framed bytes.
pub fn schema_id(bytes: &[u8]) -> Result<u32, DecodeError> {
    match bytes {
        [MAGIC, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => Err(DecodeError::NotFramed),
    }
}

/// Reads a value of one type.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let codec = T::codec();
    let found = schema_id(bytes)?;
    if found != codec.id {
        return Err(DecodeError::OtherSchema { found, expected: codec.id, what: codec.name });
    }
    let fail = |error: apache_avro::Error| DecodeError::Malformed { what: codec.name, detail: error.to_string() };
    codec.reader.read_deser(&mut &bytes[PREFIX_BYTES..]).map_err(fail)
}
