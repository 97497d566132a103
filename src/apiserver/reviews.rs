//! Create-only kinds that answer questions about the caller. Everybody may do everything here.

use crate::apiserver::request::{parse_body, require_type};
use crate::apiserver::status::Status;
use serde_json::{Value, json};

/// One kind of review.
#[derive(Debug)]
pub struct Review {
    /// API group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Path segment.
    pub plural: &'static str,
}

/// The reviews served.
pub static REVIEWS: &[Review] = &[
    Review {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
    },
    Review {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
    },
];

/// The review at a path, if one is served there.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Review> {
    REVIEWS.iter().find(|it| it.group == group && it.version == version && it.plural == plural)
}

/// Answers a review: the request with its status filled in.
pub fn answer(review: &Review, content_type: Option<&str>, body: &[u8]) -> Result<Value, Status> {
    let mut object = parse_body(content_type, body)?;
    require_type(&mut object, &format!("{}/{}", review.group, review.version), review.kind)?;
    object["status"] = if review.kind == "SelfSubjectReview" {
        json!({"userInfo": {"username": "ordinal:admin", "groups": ["system:masters", "system:authenticated"]}})
    } else {
        json!({"allowed": true})
    };
    Ok(object)
}
