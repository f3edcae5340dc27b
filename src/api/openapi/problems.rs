//! How the API refuses: one described answer per status, shared by every route.

use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::response::{Response, ResponseBuilder, Responses};
use utoipa::openapi::{Components, Content, ContentBuilder, Ref, RefOr};

/// A refusal (RFC 9457).
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described; `ApiError` writes the real one")]
pub(in crate::api) struct Problem {
    /// Stable; made for programs.
    #[schema(example = "urn:postrider:problem:invalid")]
    r#type: String,
    title: String,
    /// The HTTP status.
    status: u16,
    /// Made for people.
    detail: String,
    /// The fields that are not acceptable.
    errors: Option<Vec<FieldProblem>>,
}

/// One field that is not acceptable.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described; `ApiError` writes the real one")]
struct FieldProblem {
    /// A JSON Pointer into the body, or `/` and the name of a query parameter.
    #[schema(example = "/payload")]
    pointer: String,
    detail: String,
}

const MEDIA_TYPE: &str = "application/problem+json";

/// Status, name among the components, what it means, its `type`, title and an example of a detail.
type Described = (
    u16,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const PROBLEMS: [Described; 15] = [
    (
        400,
        "Malformed",
        "The request cannot be read: bad JSON, a bad header.",
        "malformed",
        "The request could not be read",
        "the body is not valid JSON: expected value at line 1 column 9",
    ),
    (
        401,
        "Unauthorized",
        "No credential, or a bad one.",
        "unauthorized",
        "A valid credential is needed",
        "send an API key or a user token",
    ),
    (
        403,
        "Forbidden",
        "The credential may not do that. Never says whether the thing exists.",
        "forbidden",
        "This credential may not do that",
        "submitting needs the role `send`",
    ),
    (
        404,
        "NotFound",
        "There is no such thing for this caller.",
        "not-found",
        "There is no such thing",
        "there is no such notification",
    ),
    (
        405,
        "MethodNotAllowed",
        "The path does not take that method; `Allow` names those it takes.",
        "method-not-allowed",
        "This path does not take that method",
        "the Allow header names the methods of this path",
    ),
    (
        408,
        "TooSlow",
        "The body did not arrive in time.",
        "request-timeout",
        "The request took too long to arrive",
        "the body did not arrive in time",
    ),
    (
        409,
        "Conflict",
        "As things stand it cannot be done, or the first request with this `Idempotency-Key` is \
         still at work.",
        "conflict",
        "That cannot be done as things stand",
        "the notification has been sent",
    ),
    (
        413,
        "TooLarge",
        "The body is too large.",
        "too-large",
        "The body is too large",
        "a body here has at most 1048576 bytes",
    ),
    (
        414,
        "UriTooLong",
        "The path with its query is too long.",
        "uri-too-long",
        "The path is too long",
        "a path with its query has at most 8192 bytes",
    ),
    (
        415,
        "UnsupportedMediaType",
        "The body has a media type that this path does not read.",
        "unsupported-media-type",
        "The body has the wrong media type",
        "send Content-Type: application/json",
    ),
    (
        422,
        "Invalid",
        "The request can be read, but something in it is not acceptable: `errors` names it.",
        "invalid",
        "The request is not acceptable",
        "/payload: must be an object",
    ),
    (
        429,
        "TooMany",
        "Too many requests of this caller, or from this address; `Retry-After` says when to ask \
         again, `RateLimit` how you stand.",
        "too-many-requests",
        "Too many requests",
        "this caller asks more often than it may",
    ),
    (
        431,
        "HeadersTooLarge",
        "The header is too large.",
        "headers-too-large",
        "The header is too large",
        "a request has at most 90 header fields of 16384 bytes in all",
    ),
    (
        500,
        "Internal",
        "A bug on our side; the cause has been logged.",
        "internal",
        "Something went wrong on our side",
        "the cause has been logged",
    ),
    (
        503,
        "Unavailable",
        "Postgres is away, too much is waiting, or it took too long; `Retry-After` says when to ask \
         again.",
        "unavailable",
        "The service cannot take this right now",
        "it may not have been written; try again after the time in Retry-After",
    ),
];

/// Adds every refusal to the components.
pub(super) fn describe(components: &mut Components) {
    for (name, schema) in [
        ("Problem", <Problem as utoipa::PartialSchema>::schema()),
        (
            "FieldProblem",
            <FieldProblem as utoipa::PartialSchema>::schema(),
        ),
    ] {
        components.schemas.insert(name.to_owned(), schema);
    }
    for described in PROBLEMS {
        let name = described.1.to_owned();
        components
            .responses
            .insert(name, RefOr::T(response(described)));
    }
}

fn response(described: Described) -> Response {
    ResponseBuilder::new()
        .description(described.2)
        .content(MEDIA_TYPE, content(described))
        .build()
}

fn content((status, _, _, kind, title, detail): Described) -> Content {
    let mut example = json!({
        "type": format!("urn:postrider:problem:{kind}"),
        "title": title,
        "status": status,
        "detail": detail,
    });
    if status == 422 {
        example["errors"] = json!([{"pointer": "/payload", "detail": "must be an object"}]);
    }
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .example(Some(example))
        .build()
}

/// Says that an operation may answer with the refusal of `status`, unless it says so itself.
pub(super) fn refer(responses: &mut Responses, status: u16) {
    if let Some((_, name, ..)) = PROBLEMS.iter().find(|problem| problem.0 == status) {
        responses
            .responses
            .entry(status.to_string())
            .or_insert_with(|| RefOr::Ref(Ref::from_response_name(*name)));
    }
}

/// Gives the refusals that an operation describes itself the body that all have.
pub(super) fn fill(responses: &mut Responses) {
    for (status, response) in &mut responses.responses {
        let described = PROBLEMS
            .iter()
            .find(|problem| problem.0.to_string() == *status);
        if let (Some(described), RefOr::T(response)) = (described, response)
            && response.content.is_empty()
        {
            response
                .content
                .insert(MEDIA_TYPE.to_owned(), RefOr::T(content(*described)));
        }
    }
}
