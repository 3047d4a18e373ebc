//! How values lie in rows and columns, whichever engine keeps them: a byte for the layout, then postcard.

use super::{StoreError, layout::Stored};
use serde::Serialize;

/// First byte of every value, so that a later layout can be told apart.
const LAYOUT: u8 = 2;
/// What [`Stored::read_first`] reads.
const FIRST_LAYOUT: u8 = 1;
/// Most values are smaller; what is larger grows.
const VALUE_BYTES: usize = 512;

/// A value on its way into a row. (postcard's own growing output takes bytes one by one.)
struct Value(Vec<u8>);

impl postcard::ser_flavors::Flavor for Value {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// A value as bytes.
pub(super) fn write_value<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::with_capacity(VALUE_BYTES);
    out.push(LAYOUT);
    postcard::serialize_with_flavor(value, Value(out)).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The way back.
pub(super) fn read_value<T: Stored>(bytes: &[u8]) -> Result<T, StoreError> {
    match bytes {
        [LAYOUT, rest @ ..] => postcard::from_bytes(rest).map_err(|error| StoreError::Corrupt(error.to_string())),
        [FIRST_LAYOUT, rest @ ..] => T::read_first(rest).map_err(|error| StoreError::Corrupt(error.to_string())),
        _ => Err(StoreError::Corrupt("written by another version".to_owned())),
    }
}
