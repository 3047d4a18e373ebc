//! Records to librdkafka's messages and back.

use crate::{Consumed, Header, Position, Record};
use bytes::{Bytes, BytesMut};
use rdkafka::{
    Message, Timestamp,
    message::{BorrowedMessage, Header as NativeHeader, Headers, OwnedHeaders},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Bytes of key, value and headers, as a broker counts them against its limit, but for a few dozen of its own.
pub(super) fn size_of(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len) + headers
}

pub(super) fn headers(record: &Record) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    Some(
        record.headers.iter().fold(empty, |headers, header| {
            headers.insert(NativeHeader { key: &header.name, value: Some(&*header.value) })
        }),
    )
}

/// Copies a message out of librdkafka's buffer: key and value into one allocation. `None` for an offset that cannot be.
pub(super) fn consumed(message: &BorrowedMessage<'_>, topic: &Arc<str>, epoch: u16) -> Option<Consumed> {
    let (key, value) = (message.key(), message.payload());
    let n_key = key.map_or(0, <[u8]>::len);
    let mut both = BytesMut::with_capacity(n_key + value.map_or(0, <[u8]>::len));
    both.extend_from_slice(key.unwrap_or_default());
    both.extend_from_slice(value.unwrap_or_default());
    let mut both = both.freeze();
    let key = key.map(|_| both.split_to(n_key));
    let record = Record {
        key,
        value: value.map(|_| both),
        headers: headers_of(message),
        timestamp_ms: match message.timestamp() {
            Timestamp::NotAvailable => -1,
            Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => ms,
        },
    };
    let partition = u32::try_from(message.partition()).ok()?;
    let position = Position { epoch, partition, offset: u64::try_from(message.offset()).ok()? };
    Some(Consumed { topic: Arc::clone(topic), position, record })
}

/// The headers. Names that are no text, which only a foreign client can write, make the binding panic: such a record is
/// taken without its headers rather than stopping its partition for ever.
fn headers_of(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let Some(native) = message.headers() else { return Vec::new() };
    let read = || {
        let header = |header: NativeHeader<'_, &[u8]>| Header {
            name: header.key.to_owned().into(),
            value: Bytes::copy_from_slice(header.value.unwrap_or_default()),
        };
        native.iter().map(header).collect()
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let (partition, offset) = (message.partition(), message.offset());
        tracing::warn!(topic = message.topic(), partition, offset, "a record's headers are no text and were left out");
        Vec::new()
    })
}
