//! Answers that kmend gives itself. Complete frames, size prefix included.

use super::super::api::ApiKey;

/// FETCH_SESSION_ID_NOT_FOUND: the client opens a new session with a full Fetch (KIP-227).
pub const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
/// UNSUPPORTED_VERSION.
pub const UNSUPPORTED_VERSION: i16 = 35;

pub(super) fn frame(correlation: i32, header_tags: bool, body: &[u8]) -> Vec<u8> {
    let size = 4 + usize::from(header_tags) + body.len();
    let mut out = Vec::with_capacity(4 + size);
    out.extend_from_slice(&(size as u32).to_be_bytes());
    out.extend_from_slice(&correlation.to_be_bytes());
    if header_tags {
        out.push(0);
    }
    out.extend_from_slice(body);
    out
}

/// A Fetch response (version 7 and later) that carries nothing but a top-level error.
pub fn fetch_error(version: i16, correlation: i32, error: i16) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend_from_slice(&error.to_be_bytes());
    body.extend_from_slice(&[0; 4]);
    if ApiKey::FETCH.is_flexible(version) {
        body.extend_from_slice(&[1, 0]);
    } else {
        body.extend_from_slice(&[0; 4]);
    }
    frame(correlation, ApiKey::FETCH.response_header_has_tags(version), &body)
}

/// The answer to an ApiVersions request of a version that is not known (KIP-511): version 0's
/// layout, UNSUPPORTED_VERSION, and the versions of ApiVersions that are.
pub fn api_versions_unsupported(correlation: i32, max: i16) -> Vec<u8> {
    let mut body = UNSUPPORTED_VERSION.to_be_bytes().to_vec();
    body.extend_from_slice(&1i32.to_be_bytes());
    body.extend_from_slice(&ApiKey::API_VERSIONS.0.to_be_bytes());
    body.extend_from_slice(&0i16.to_be_bytes());
    body.extend_from_slice(&max.to_be_bytes());
    frame(correlation, false, &body)
}

/// A request frame around `body`.
pub fn request(api: ApiKey, version: i16, correlation: i32, client_id: &[u8], body: &[u8]) -> Vec<u8> {
    let tags = usize::from(api.is_flexible(version));
    let size = 10 + client_id.len() + tags + body.len();
    let mut out = Vec::with_capacity(4 + size);
    out.extend_from_slice(&(size as u32).to_be_bytes());
    out.extend_from_slice(&api.0.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&correlation.to_be_bytes());
    out.extend_from_slice(&(client_id.len() as i16).to_be_bytes());
    out.extend_from_slice(client_id);
    out.resize(out.len() + tags, 0);
    out.extend_from_slice(body);
    out
}
