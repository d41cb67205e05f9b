//! The static files of the page, embedded in the program.

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};

/// Path, content type and content of each file.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/label.css", "text/css; charset=utf-8", include_str!("../page/label.css")),
    ("/label.js", "text/javascript; charset=utf-8", include_str!("../page/label.js")),
    ("/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
];

/// The routes of the files.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> impl Iterator<Item = (&'static str, MethodRouter<S>)> {
    FILES.into_iter().map(|(path, kind, content)| {
        (path, get(move || async move { ([(header::CONTENT_TYPE, kind)], content).into_response() }))
    })
}
