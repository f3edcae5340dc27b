//! Documents of users: JSON as deep as the contract allows.

use serde::Deserialize;
use serde_json::Value;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Type};

/// A `jsonb` value of any depth, to be read.
///
/// Written with the driver's own `Json`.
///
/// The driver's own decoding stops at 127 levels. A payload may have 128 and lie a level deeper in a
/// message, and one row that cannot be read would fail the whole claim that loads it. Depth is
/// bounded where documents come in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document<T>(pub(crate) T);

impl<T> Type<Postgres> for Document<T> {
    fn type_info() -> PgTypeInfo {
        <Value as Type<Postgres>>::type_info()
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        <Value as Type<Postgres>>::compatible(ty)
    }
}

impl<'r, T: for<'de> Deserialize<'de>> Decode<'r, Postgres> for Document<T> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let bytes = value.as_bytes()?;
        let text = match value.format() {
            PgValueFormat::Text => bytes,
            // The binary form of `jsonb` is its version, so far 1, and the text.
            PgValueFormat::Binary => bytes.strip_prefix(&[1]).ok_or("unknown version of jsonb")?,
        };
        let mut reader = serde_json::Deserializer::from_slice(text);
        reader.disable_recursion_limit();
        Ok(Self(T::deserialize(&mut reader)?))
    }
}
