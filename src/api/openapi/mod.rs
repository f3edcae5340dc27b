//! The published description of the API: OpenAPI 3.1, made from the handlers.
//!
//! A handler says what is special about it: its parameters, its body, what it answers with. What
//! every route has in common is added here by rule, from the shape of the operation: who may call
//! it, how it refuses, and the `Idempotency-Key` of a POST. So no route can forget a refusal.
//!
//! `docs/openapi.json` is this document; a test keeps the two the same.

pub(super) mod bodies;
pub(super) mod limits;
pub(super) mod people;
pub(super) mod problems;
pub(super) mod reader;
pub(super) mod rules;
pub(super) mod templates;
pub(super) mod words;

use axum::response::IntoResponse;
use serde_json::{Map, Value};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, Info, OpenApi, RefOr, Required, Tag};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

/// What the document says of itself before a reader meets the first path.
const DESCRIPTION: &str = "\
Events come in, rules decide who hears of them, and every step that must not be lost is a row in \
Postgres. Every refusal is `application/problem+json` with a stable `type`. A `202` means that the \
submission is committed, not that it was acted on.";

/// The groups in which a reader shows the routes, as one would come to need them.
const TAGS: [&str; 13] = [
    "Submit",
    "Look up",
    "Feed",
    "Web push",
    "Users",
    "Preferences",
    "Topics",
    "Rules",
    "Templates",
    "Limits",
    "Consents",
    "Operate",
    "System A",
];

/// The document of all `routes`.
pub(super) fn document(routes: &mut OpenApiRouter<App>) -> OpenApi {
    let mut document = routes.to_openapi();
    document.info = Info::new("Postrider", env!("CARGO_PKG_VERSION"));
    document.info.description = Some(DESCRIPTION.to_owned());
    document.tags = Some(TAGS.map(Tag::new).into());
    let components = document.components.get_or_insert_default();
    components
        .security_schemes
        .extend(security_schemes().map(|(name, scheme)| (name, RefOr::T(scheme))));
    problems::describe(components);
    for (name, schema) in &mut components.schemas {
        if let (true, RefOr::T(Schema::Object(body))) = (name.ends_with("Body"), schema) {
            // A field that nobody knows is refused by its name.
            body.additional_properties
                .get_or_insert(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
    show_examples(components);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(path, method, operation);
        }
    }
    document
}

/// Gives bodies and answers the examples of `examples.json`, which a running house answered with.
fn show_examples(components: &mut Components) {
    let examples: Map<String, Value> =
        serde_json::from_str(include_str!("examples.json")).unwrap_or_default();
    for (name, example) in examples {
        match components.schemas.get_mut(&name) {
            Some(RefOr::T(Schema::Object(schema))) => schema.examples = vec![example],
            Some(RefOr::T(Schema::OneOf(schema))) => schema.examples = vec![example],
            Some(RefOr::T(Schema::AllOf(schema))) => schema.examples = vec![example],
            _ => {}
        }
    }
}

/// The text of `docs/openapi.json`.
pub fn page() -> String {
    let document = super::routes().1;
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

fn security_schemes() -> [(String, SecurityScheme); 3] {
    let bearer = |format: &str, about: &str| {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format(format)
            .description(Some(about));
        SecurityScheme::Http(scheme.build())
    };
    let about = "The key of a service, with the roles `send`, `read` or `admin`.";
    let header = ApiKeyValue::with_description("X-Api-Key", about);
    [
        ("api_key".to_owned(), bearer("API key", about)),
        (
            "api_key_header".to_owned(),
            SecurityScheme::ApiKey(ApiKey::Header(header)),
        ),
        (
            "user_token".to_owned(),
            bearer("JWT", "The token of a user: `sub` and `exp` are required."),
        ),
    ]
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", item.get.as_mut()),
        ("put", item.put.as_mut()),
        ("post", item.post.as_mut()),
        ("delete", item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}

/// Adds what follows from the shape of an operation.
fn complete(path: &str, method: &str, operation: &mut Operation) {
    let is_open = operation.security.as_ref().is_some_and(|needed| {
        needed
            .iter()
            .all(|each| *each == SecurityRequirement::default())
    });
    if operation.security.is_none() {
        let scheme = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
        operation.security = Some(
            ["api_key", "api_key_header", "user_token"]
                .map(scheme)
                .to_vec(),
        );
    }
    problems::fill(&mut operation.responses);
    let has_body = operation.request_body.is_some();
    let has_query = operation.parameters.iter().flatten().any(|parameter| {
        matches!(
            parameter,
            RefOr::T(Parameter {
                parameter_in: ParameterIn::Query,
                ..
            })
        )
    });
    let is_repeatable = method == "post" && !is_open && !path.ends_with("/ws/ticket");
    if is_repeatable {
        let key = RefOr::T(idempotency_key());
        operation.parameters.get_or_insert_default().push(key);
    }
    let mut add = |statuses: &[u16]| {
        for &status in statuses {
            problems::refer(&mut operation.responses, status);
        }
    };
    // Anybody may be limited, and anything may be away.
    add(&[414, 429, 431, 500, 503]);
    if !is_open {
        add(&[401, 403]);
    }
    if path.contains('{') {
        add(&[404]);
    }
    if has_body {
        add(&[400, 408, 413, 415, 422]);
    }
    if has_query {
        add(&[422]);
    }
    if is_repeatable {
        add(&[400, 409, 422]);
    }
}

fn idempotency_key() -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::String))
        .min_length(Some(1))
        .max_length(Some(255))
        .pattern(Some("^[ -~]+$"));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Makes the request repeatable for 24 hours: the same body gets the first answer again.",
        ))
        .schema(Some(Schema::Object(schema.build())))
        .build()
}

/// `GET /openapi.json`.
pub(super) fn serve(document: &OpenApi) -> axum::routing::MethodRouter<App> {
    let text: axum::body::Bytes = serde_json::to_vec(document).unwrap_or_default().into();
    axum::routing::get(async move || {
        let media_type = [(axum::http::header::CONTENT_TYPE, "application/json")];
        (media_type, text).into_response()
    })
}
