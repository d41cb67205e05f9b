//! Error responses.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use datasets::DatasetError;
use serde_json::json;

/// A status and a message, as `{"error": ".."}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn too_long(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {limit} bytes"))
    }

    pub(crate) fn unknown_pair(pairs: usize) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such pair: they are numbered from 0 to {}", pairs - 1))
    }
}

impl From<DatasetError> for Refusal {
    /// A fault of the server's files is a server error, not a bad request.
    fn from(error: DatasetError) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match &error {
            DatasetError::Write { source, .. }
                if matches!(source.kind(), FileTooLarge | QuotaExceeded | StorageFull) =>
            {
                let message = format!(
                    "the disk is full: {error} ({source}). The answer was not taken, all earlier ones are safe"
                );
                Self::new(StatusCode::INSUFFICIENT_STORAGE, message)
            }
            DatasetError::Write { source, .. } => {
                let message = format!("{error} ({source}). The answer was not taken, all earlier ones are safe");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": self.message}).to_string();
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_full_disk_has_a_status_of_its_own() {
        let status = |kind: ErrorKind| {
            let error = DatasetError::Write { path: "labels.jsonl".into(), source: Error::from(kind) };
            Refusal::from(error).status.as_u16()
        };
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
            assert_eq!(status(kind), 507);
        }
        assert_eq!(status(ErrorKind::PermissionDenied), 500);
    }
}
