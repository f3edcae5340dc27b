//! How the domain's words are described: the domain itself knows nothing of OpenAPI.

use std::borrow::Cow;

use domain::{
    Channel, Priority, ReplayResult, ReplayState, Scope, Severity, Status, WhenUnavailable,
};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// Describes a set of words by the domain's own list of them.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident: $words:expr;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let object = ObjectBuilder::new()
                    .schema_type(SchemaType::new(Type::String))
                    .enum_values(Some($words));
                RefOr::T(Schema::Object(object.build()))
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+};
}

words! {
    /// A channel, as it is shown.
    ChannelWord: Channel::ALL.map(Channel::as_str);
    /// A channel as it is taken: also under the names of the systems before.
    ChannelAsked: Channel::ALL
        .map(Channel::as_str)
        .into_iter()
        .chain(["inapp", "websocket", "browser", "browser_push"]);
    /// The status of a notification or a delivery.
    StatusWord: Status::ALL.map(Status::as_str);
    /// A priority, as it is shown.
    PriorityWord: Priority::ALL.map(Priority::as_str);
    /// A priority as it is taken.
    PriorityAsked: Priority::ALL.map(Priority::as_str).into_iter().chain(["medium"]);
    /// How bad it is.
    SeverityWord: Severity::ALL.map(Severity::as_str);
    /// How far a replay is.
    ReplayStateWord: ReplayState::ALL.map(ReplayState::as_str);
    /// What a replay did with one dead letter.
    ReplayResultWord: ReplayResult::ALL.map(ReplayResult::as_str);
    /// A window of counts that has a name.
    WindowWord: ["1h", "24h", "7d", "30d"];
    /// What a limit counts apart from what.
    ScopeWord: Scope::ALL.map(Scope::as_str);
    /// What becomes of a message while slots cannot be counted.
    UnavailableWord: WhenUnavailable::ALL.map(WhenUnavailable::as_str);
    /// Where a limit is from.
    LimitSourceWord: ["default", "tenant"];
    /// What a provider answered.
    AttemptWord: ["sent", "delivered", "failed", "bounced", "rejected", "unknown"];
}

/// A moment: RFC 3339, UTC, with `Z`.
pub(crate) fn moment() -> RefOr<Schema> {
    time(SchemaType::new(Type::String))
}

/// A moment, or null for none.
pub(crate) fn optional_moment() -> RefOr<Schema> {
    time(SchemaType::from_iter([Type::String, Type::Null]))
}

fn time(schema_type: SchemaType) -> RefOr<Schema> {
    let object = ObjectBuilder::new()
        .schema_type(schema_type)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples(["2026-11-21T09:00:00.000Z"]);
    RefOr::T(Schema::Object(object.build()))
}

/// An object of any shape.
pub(crate) fn any_object() -> RefOr<Schema> {
    free(SchemaType::new(Type::Object))
}

/// An object of any shape, or null for none.
pub(crate) fn optional_any_object() -> RefOr<Schema> {
    free(SchemaType::from_iter([Type::Object, Type::Null]))
}

fn free(schema_type: SchemaType) -> RefOr<Schema> {
    let object = ObjectBuilder::new()
        .schema_type(schema_type)
        .additional_properties(Some(
            utoipa::openapi::schema::AdditionalProperties::FreeForm(true),
        ));
    RefOr::T(Schema::Object(object.build()))
}
