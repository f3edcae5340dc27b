//! `GET /docs`: the description of the API for people, from files in this binary.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use axum::http::{HeaderValue, Response, header};
use axum::response::{IntoResponse, Redirect};
use utoipa_swagger_ui::Config;

use crate::api::error::ApiError;

/// The reader's own scripts and styles, and nothing from anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// `GET /docs`: relative links need the slash.
pub(in crate::api) async fn enter() -> Redirect {
    Redirect::permanent("/docs/")
}

/// `GET /docs/…`: one file of the reader.
pub(in crate::api) async fn file(
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response<Body>, ApiError> {
    let not_found = || ApiError::not_found("there is nothing at this path");
    let params = params.map_err(|_rejected: RawPathParamsRejection| not_found())?;
    let name = params.iter().next().map_or("", |(_, value)| value);
    let config = Config::new(["/openapi.json"]).try_it_out_enabled(true);
    let file = utoipa_swagger_ui::serve(name, Arc::new(config))
        .ok()
        .flatten()
        .ok_or_else(not_found)?;
    let mut response = file.bytes.into_owned().into_response();
    let headers = response.headers_mut();
    if let Ok(media_type) = HeaderValue::from_str(&file.content_type) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    Ok(response)
}
