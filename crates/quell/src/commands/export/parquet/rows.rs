//! Rows on their way into a Parquet file, column by column.

use anyhow::{Context as _, bail};
use parquet::{
    basic::{Compression, Type as Physical},
    data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::{
        parser::parse_message_type,
        types::{SchemaDescriptor, TypePtr},
    },
};
use std::{fs::File, sync::Arc};

/// Reads a schema that is part of this build.
pub(super) fn schema(text: &str) -> anyhow::Result<TypePtr> {
    Ok(Arc::new(parse_message_type(text).context("a schema of this build")?))
}

/// Rows of one schema. Each row puts every leaf of the schema, in its order.
#[derive(Debug)]
pub(super) struct Rows {
    schema: TypePtr,
    columns: Vec<Column>,
    /// The leaf that is put next.
    at: usize,
    /// How much is held, roughly.
    pub(super) bytes: usize,
}

/// A leaf: required, optional, or one level of a list.
#[derive(Debug)]
struct Column {
    values: Values,
    is_nested: bool,
    is_list: bool,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

#[derive(Debug)]
enum Values {
    Text(Vec<ByteArray>),
    Long(Vec<i64>),
    Int(Vec<i32>),
    Flag(Vec<bool>),
}

impl Rows {
    pub(super) fn new(schema: TypePtr) -> anyhow::Result<Self> {
        let leaves = SchemaDescriptor::new(Arc::clone(&schema));
        let columns = leaves.columns().iter().map(|leaf| {
            let values = match leaf.physical_type() {
                Physical::BYTE_ARRAY => Values::Text(Vec::new()),
                Physical::INT64 => Values::Long(Vec::new()),
                Physical::INT32 => Values::Int(Vec::new()),
                Physical::BOOLEAN => Values::Flag(Vec::new()),
                other => bail!("no column of this build is {other}"),
            };
            let (is_nested, is_list) = (leaf.max_def_level() > 0, leaf.max_rep_level() > 0);
            Ok(Column { values, is_nested, is_list, definitions: Vec::new(), repetitions: Vec::new() })
        });
        let columns = columns.collect::<anyhow::Result<_>>()?;
        Ok(Self { schema, columns, at: 0, bytes: 0 })
    }

    pub(super) fn text(&mut self, text: &str) {
        self.maybe_text(Some(text));
    }

    pub(super) fn maybe_text(&mut self, text: Option<&str>) {
        self.bytes += text.map_or(0, str::len) + size_of::<ByteArray>();
        self.put(text, |values, text| match values {
            Values::Text(into) => into.push(ByteArray::from(text)),
            Values::Long(_) | Values::Int(_) | Values::Flag(_) => {}
        });
    }

    pub(super) fn long(&mut self, number: i64) {
        self.maybe_long(Some(number));
    }

    pub(super) fn maybe_long(&mut self, number: Option<i64>) {
        self.bytes += size_of::<i64>();
        self.put(number, |values, number| match values {
            Values::Long(into) => into.push(number),
            Values::Text(_) | Values::Int(_) | Values::Flag(_) => {}
        });
    }

    pub(super) fn int(&mut self, number: i32) {
        self.maybe_int(Some(number));
    }

    pub(super) fn maybe_int(&mut self, number: Option<i32>) {
        self.bytes += size_of::<i32>();
        self.put(number, |values, number| match values {
            Values::Int(into) => into.push(number),
            Values::Text(_) | Values::Long(_) | Values::Flag(_) => {}
        });
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.bytes += 1;
        self.put(Some(flag), |values, flag| match values {
            Values::Flag(into) => into.push(flag),
            Values::Text(_) | Values::Long(_) | Values::Int(_) => {}
        });
    }

    /// One leaf of a list's elements.
    pub(super) fn texts<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        let Some(column) = self.columns.get_mut(self.at) else { return };
        let mut is_first = true;
        for text in texts {
            self.bytes += text.len() + size_of::<ByteArray>();
            column.definitions.push(1);
            column.repetitions.push(i16::from(!is_first));
            is_first = false;
            if let Values::Text(into) = &mut column.values {
                into.push(ByteArray::from(text));
            }
        }
        if is_first {
            column.definitions.push(0);
            column.repetitions.push(0);
        }
        self.at = (self.at + 1) % self.columns.len().max(1);
    }

    fn put<T>(&mut self, value: Option<T>, push: impl FnOnce(&mut Values, T)) {
        let Some(column) = self.columns.get_mut(self.at) else { return };
        if column.is_nested {
            column.definitions.push(i16::from(value.is_some()));
        }
        if let Some(value) = value {
            push(&mut column.values, value);
        }
        self.at = (self.at + 1) % self.columns.len().max(1);
    }

    /// Writes them as one file with one row group, and gives the file back. A row that was put wrongly is an error here: the
    /// columns are then not of one length.
    pub(super) fn write(self, file: File) -> anyhow::Result<File> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let properties = properties.set_created_by(concat!("quell ", env!("CARGO_PKG_VERSION")).to_owned()).build();
        let mut writer = SerializedFileWriter::new(file, self.schema, Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        for column in self.columns {
            let Some(mut into) = group.next_column()? else { bail!("more columns than the schema has") };
            column.write(&mut into)?;
            into.close()?;
        }
        group.close()?;
        Ok(writer.into_inner()?)
    }
}

impl Column {
    fn write(&self, into: &mut SerializedColumnWriter<'_>) -> Result<(), parquet::errors::ParquetError> {
        let definitions = self.is_nested.then_some(self.definitions.as_slice());
        let repetitions = self.is_list.then_some(self.repetitions.as_slice());
        match &self.values {
            Values::Text(values) => into.typed::<ByteArrayType>().write_batch(values, definitions, repetitions),
            Values::Long(values) => into.typed::<Int64Type>().write_batch(values, definitions, repetitions),
            Values::Int(values) => into.typed::<Int32Type>().write_batch(values, definitions, repetitions),
            Values::Flag(values) => into.typed::<BoolType>().write_batch(values, definitions, repetitions),
        }
        .map(drop)
    }
}
