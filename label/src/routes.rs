//! The HTTP routes.
//!
//! | | |
//! |---|---|
//! | `GET /` and its script, style and icon | the page |
//! | `GET /api/session` | how many pairs of what kind, and who labels by default |
//! | `GET /api/progress?labeller=` | how far a labeller is, and which pair is next |
//! | `GET /api/pairs/{index}?labeller=` | the request, and texts |
//! | `GET /api/pairs/{index}/left` or `right` `?labeller=` | a picture |
//! | `POST /api/answers` | `{"labeller", "index", "choice": "left", "right", "tie" or "skip"}`, or `"undo": true` |

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use datasets::pairs::Judgement;
use serde_json::{Value, json};

use crate::board::{Answer, Board, Place};
use crate::guard::{self, BODY_LIMIT, Guard};
use crate::page;
use crate::refusal::Refusal;

type Answered = Result<Response, Refusal>;

/// All routes, behind the guard.
pub(crate) fn router(board: Arc<Board>, guard: Arc<Guard>) -> Router {
    let api = Router::new()
        .route("/api/session", get(session))
        .route("/api/progress", get(progress))
        .route("/api/pairs/{index}", get(pair))
        .route("/api/pairs/{index}/{place}", get(picture))
        .route("/api/answers", post(answer));
    page::routes()
        .fold(api, |router, (path, file)| router.route(path, file))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(guard, guard::watch))
        .with_state(board)
}

#[derive(serde::Deserialize)]
struct Who {
    labeller: String,
}

type WhoAsks = Result<Query<Who>, QueryRejection>;

fn name(who: WhoAsks) -> Result<String, Refusal> {
    let Query(who) = who.map_err(|_| Refusal::bad("the address needs ?labeller=NAME"))?;
    checked_name(who.labeller)
}

fn checked_name(name: String) -> Result<String, Refusal> {
    if Judgement::is_name(&name) { Ok(name) } else { Err(Refusal::bad("a labeller's name has 1 to 64 characters")) }
}

async fn session(State(board): State<Arc<Board>>) -> Response {
    reply(&board.session())
}

async fn progress(State(board): State<Arc<Board>>, who: WhoAsks) -> Answered {
    Ok(reply(&board.progress(&name(who)?)))
}

async fn pair(State(board): State<Arc<Board>>, path: Result<Path<String>, PathRejection>, who: WhoAsks) -> Answered {
    let Path(index) = path.map_err(|_| nothing())?;
    Ok(reply(&board.view(number(&index)?, &name(who)?)?))
}

async fn picture(
    State(board): State<Arc<Board>>,
    path: Result<Path<(String, String)>, PathRejection>,
    who: WhoAsks,
) -> Answered {
    let Path((index, place)) = path.map_err(|_| nothing())?;
    let place = match &*place {
        "left" => Place::Left,
        "right" => Place::Right,
        _ => return Err(nothing()),
    };
    let (index, labeller) = (number(&index)?, name(who)?);
    let bytes = aside(move || board.picture(index, place, &labeller)).await?;
    Ok(([(header::CONTENT_TYPE, "image/png")], bytes).into_response())
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    labeller: String,
    index: usize,
    choice: Option<Answer>,
    #[serde(default)]
    undo: bool,
}

async fn answer(State(board): State<Arc<Board>>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Answered {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_long(BODY_LIMIT),
        status => Refusal::new(status, "the body could not be read"),
    })?;
    // A form of another page cannot send this type, and a script of it has to ask first.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body should be application/json"));
    }
    let body: Body =
        serde_json::from_slice(&body).map_err(|error| Refusal::bad(format!("the body is no answer: {error}")))?;
    let (index, labeller) = (body.index, checked_name(body.labeller)?);
    let choice = match (body.choice, body.undo) {
        (Some(choice), false) => Some(choice),
        (None, true) => None,
        _ => return Err(Refusal::bad("an answer has either a choice or undo")),
    };
    let revealed = match choice {
        Some(choice) => board.answer(index, &labeller, choice).await?,
        None => board.undo(index, &labeller).await.map(|()| Value::Null)?,
    };
    Ok(reply(&json!({"revealed": revealed, "progress": board.progress(&labeller)})))
}

/// Runs blocking disk work off the event loop.
fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> impl Future<Output = Result<T, Refusal>> {
    let task = tokio::task::spawn_blocking(work);
    async move {
        let ended = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending");
        task.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn number(text: &str) -> Result<usize, Refusal> {
    text.parse().map_err(|_| nothing())
}

fn nothing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is nothing here")
}

fn reply(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
