//! HTTP requests to calls, and their outcomes to responses.
//!
//! One handler takes every path: the resource table decides what exists, not a routing table. Bodies are read
//! raw because kubectl 1.20 sends JSON without a Content-Type.

use crate::apiserver::delete::{self, Deleted};
use crate::apiserver::documents;
use crate::apiserver::guard::Guard;
use crate::apiserver::list::{self, Selection};
use crate::apiserver::negotiate::{self, Offer};
use crate::apiserver::object::Object;
use crate::apiserver::patches;
use crate::apiserver::render::{Columns, IncludeObject, View};
use crate::apiserver::request::{Call, Plus, Query, Target, check_write_options, percent_decode};
use crate::apiserver::reviews;
use crate::apiserver::server::ApiServer;
use crate::apiserver::status::Status;
use crate::apiserver::update::{self, Part, Written};
use crate::apiserver::watch::Watcher;
use crate::apiserver::{create, eviction, meta, metrics, scale, subresources};
use crate::http_server::Visitor;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Largest request body, upstream's limit.
const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// Time a body has to arrive; that of a whole request upstream.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// What is still read, and dropped, of a body beyond the limit, so that its sender gets to read why.
const DRAINED_OCTETS: usize = 32 * 1024 * 1024;
/// How long.
const DRAINED_TIME: Duration = Duration::from_secs(2);
/// Longest label or field selector, in octets.
const SELECTOR_LIMIT: usize = 10_000;

/// What the handler needs: the server, and when its streams have to end.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) server: ApiServer,
    pub(crate) shutdown: CancellationToken,
    /// Absent in process, where there is no socket to guard.
    pub(crate) guard: Option<Arc<Guard>>,
}

/// The router over a whole server.
pub(crate) fn router(app: App) -> axum::Router {
    axum::Router::new().fallback(handle).with_state(app)
}

async fn handle(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(guard) = &app.guard else { return answer(&app, &parts, parts.uri.path(), body).await };
    let started = Instant::now();
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    match guard.admit(parts.uri.path(), authority, &parts.headers) {
        Ok(path) => {
            if let Some(visitor) = parts.extensions.get::<Arc<Visitor>>() {
                visitor.recognise();
            }
            let response = answer(&app, &parts, path, body).await;
            let (method, status, duration) = (&parts.method, response.status().as_u16(), started.elapsed());
            tracing::debug!(%method, path, status, ?duration, "request");
            response
        }
        // Its path may be the secret, or nearly so.
        Err(status) => {
            tracing::debug!(method = %parts.method, status = status.code, "request refused");
            failure(&status)
        }
    }
}

/// Answers an admitted request; `path` is the one below the secret.
async fn answer(app: &App, parts: &Parts, path: &str, body: Body) -> Response {
    let head = parts.method == Method::HEAD;
    let method = if head { &Method::GET } else { &parts.method };
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return failure(&status),
    };
    let query = parts.uri.query().unwrap_or_default();
    let accept = parts.headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let in_yaml = negotiate::wants_yaml(accept);
    let mut response =
        respond(app, method, path, query, &parts.headers, body).unwrap_or_else(|status| failure(&status));
    if let Some(unsettled) = app.server.store().unsettled()
        && unsettled.settled().await.is_err()
    {
        response = failure(&Status::disk_failed());
    }
    if in_yaml {
        response = as_yaml(response).await;
    }
    if head { without_body(response) } else { response }
}

/// The whole body, or 408 or 413.
async fn read(mut body: Body) -> Result<Bytes, Status> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let limited = Limited::new(&mut body, BODY_LIMIT).collect();
    match tokio::time::timeout(BODY_TIMEOUT, limited).await {
        Ok(Ok(collected)) => return Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {}
        Ok(Err(_)) => return Err(Status::bad_request("the body of the request is cut short")),
        Err(_) => return Err(Status::body_timeout()),
    }
    // A client that is still writing when the connection closes does not read the answer.
    let rest = async {
        let mut drained = 0;
        while drained < DRAINED_OCTETS
            && let Some(Ok(frame)) = body.frame().await
        {
            drained += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    let _ = tokio::time::timeout(DRAINED_TIME, rest).await;
    Err(Status::too_large(BODY_LIMIT))
}

/// The same answer in YAML. Streams stay what they are.
async fn as_yaml(response: Response) -> Response {
    if response.body().size_hint().exact().is_none() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let text = serde_json::from_slice::<Value>(&bytes).ok().and_then(|it| serde_saphyr::to_string(&it).ok());
    let Some(text) = text else { return Response::from_parts(parts, Body::from(bytes)) };
    parts.headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/yaml"));
    Response::from_parts(parts, Body::from(text))
}

/// The answer to HEAD: what GET would say, its length included.
fn without_body(mut response: Response) -> Response {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(|_| Body::empty())
}

fn respond(
    app: &App,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, Status> {
    // Decoded first: a slash is a slash, however it is written.
    let decoded = percent_decode(path, Plus::IsPlus);
    let segments: Vec<&str> = decoded.split('/').filter(|it| !it.is_empty()).collect();
    let text = |name: HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
    let query = Query::parse(query);
    let base = app.guard.as_deref().map_or("", Guard::base);
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        path if *method == Method::GET => {
            return documents::respond(path, base, &query, text(header::ACCEPT));
        }
        path => {
            documents::respond(path, base, &query, None)?;
            return Err(Status::method_not_allowed());
        }
    };
    let media = negotiate::choose(text(header::ACCEPT), Offer::Objects)?;
    let content_type = text(header::CONTENT_TYPE)
        .map(|it| it.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .filter(|it| !it.is_empty());
    let agent = text(header::USER_AGENT).unwrap_or_default();
    let manager =
        query.get("fieldManager").unwrap_or_else(|| agent.split('/').next().unwrap_or_default()).to_owned();
    if let [plural] = rest
        && let Some(review) = reviews::find(group, version, plural)
    {
        if *method != Method::POST {
            return Err(Status::method_not_allowed());
        }
        return reviews::answer(review, content_type.as_deref(), &body).map(|it| value(201, &it));
    }
    if *method != Method::GET {
        check_write_options(&query, method)?;
    }
    // The watches of old clients have a path of their own.
    let watched = rest.strip_prefix(&["watch"]).filter(|it| !it.is_empty());
    let target = Target::parse(group, version, watched.unwrap_or(rest)).ok_or_else(Status::no_such_path)?;
    if watched.is_some() && *method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    for name in ["labelSelector", "fieldSelector"] {
        if query.get(name).is_some_and(|it| it.len() > SELECTOR_LIMIT) {
            return Err(Status::bad_request(format!("{name} is longer than {SELECTOR_LIMIT} octets")));
        }
    }
    if let Some(name @ ("." | "..")) = target.name.as_deref() {
        return Err(Status::bad_request(format!("Name parameter invalid: {name:?}: may not be '{name}'")));
    }
    let warnings = Arc::default();
    let call = Call { target, query, media, content_type, manager, body, warnings };
    route(app, method, &call, watched.is_some())
}

fn route(app: &App, method: &Method, call: &Call, watched: bool) -> Result<Response, Status> {
    let server = &app.server;
    let view = View {
        resource: call.target.resource,
        media: call.media,
        include: IncludeObject::parse(call.query.get("includeObject")),
        now: server.now(),
    };
    let target = &call.target;
    let include = call.query.get("includeObject").unwrap_or("None");
    if matches!(call.media, negotiate::Media::Table(_)) && !["None", "Metadata", "Object"].contains(&include)
    {
        let value = format!("Invalid value: {include:?}: must be 'Metadata', 'Object', 'None', or empty");
        return Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: {value}"
        )));
    }
    if !target.resource.is_stored() {
        return metrics::answer(server, method, call, &view);
    }
    let named = target.name.is_some();
    // With a name in the path it is a GET of that object, whatever the query says.
    let watching = watched || !named && call.query.flag("watch");
    if *method == Method::GET && !watching && target.subresource.is_empty() {
        call.media.check(target.resource, named)?;
    }
    match (method.as_str(), target.subresource.as_str(), named) {
        ("GET", "", _) if watching => {
            let watcher = Watcher::open(server, call, view, app.shutdown.clone())?;
            Ok(stream(watcher))
        }
        ("GET", "", false) => {
            let selection = Selection::parse(call)?;
            let (objects, meta) = list::list(server, call, &selection)?;
            Ok(json_response(200, view.list(&objects, &meta)))
        }
        ("GET", "" | "status" | "ephemeralcontainers" | "resize", true) => {
            Ok(one(&view, 200, &get(server, call)?))
        }
        ("POST", "", false) => {
            Ok(warned(call, written(&view, &Written::Created(create::create(server, call)?))))
        }
        ("PUT", "", true) => Ok(warned(call, written(&view, &update::replace(server, call, Part::Main)?))),
        ("PUT", "status", true) => {
            Ok(warned(call, written(&view, &update::replace(server, call, Part::Status)?)))
        }
        ("PATCH", "", true) => Ok(warned(call, written(&view, &patches::patch(server, call, Part::Main)?))),
        ("PATCH", "status", true) => {
            Ok(warned(call, written(&view, &patches::patch(server, call, Part::Status)?)))
        }
        ("DELETE", "", true) => {
            let answer = match delete::delete(server, call)? {
                Deleted::Waiting(object) => one(&view, 200, &object),
                Deleted::Gone(object) => {
                    let name = target.name.as_deref().unwrap_or_default();
                    let uid = meta::text(&object.value, "uid");
                    value(200, &Status::deleted(target.resource, name, uid))
                }
            };
            Ok(warned(call, answer))
        }
        ("DELETE", "", false) if target.may_delete_all() => {
            let selection = Selection::parse(call)?;
            call.query.number::<i64>("limit")?;
            let deleted = delete::delete_collection(server, call, &selection)?;
            let meta = crate::apiserver::render::ListMeta {
                version: server.store().version(),
                ..crate::apiserver::render::ListMeta::default()
            };
            Ok(json_response(200, view.list(&deleted, &meta)))
        }
        ("GET", "scale", true) => Ok(value(200, &scale::get(server, call)?)),
        ("PUT", "scale", true) => Ok(warned(call, value(200, &scale::write(server, call, None)?))),
        ("PATCH", "scale", true) => {
            let kind = patches::patch_type(call)?;
            Ok(warned(call, value(200, &scale::write(server, call, Some(kind))?)))
        }
        ("POST", "binding", true) => Ok(value(201, &subresources::bind(server, call)?)),
        ("POST", "eviction", true) => Ok(value(201, &eviction::evict(server, call)?)),
        ("POST", "token", true) => Ok(value(201, &subresources::token(server, call)?)),
        ("PUT", "finalize", true) => Ok(one(&view, 200, &subresources::finalize(server, call)?)),
        ("PUT" | "PATCH", "ephemeralcontainers" | "resize", true) => {
            Ok(one(&view, 200, &subresources::part_of_pod(server, call)?))
        }
        (_, verb @ ("log" | "exec" | "attach" | "portforward"), true) => Err(Status::not_implemented(verb)),
        _ => Err(Status::method_not_allowed()),
    }
}

fn get(server: &ApiServer, call: &Call) -> Result<Arc<Object>, Status> {
    let target = &call.target;
    let version = list::parse_version(call.query.get("resourceVersion"))?.unwrap_or(0);
    let current = server.store().version();
    if version > current {
        return Err(Status::version_too_large(version, current));
    }
    server
        .store()
        .get(target.resource, &target.key())
        .ok_or_else(|| Status::not_found(target.resource, target.name.as_deref().unwrap_or_default()))
}

fn written(view: &View, written: &Written) -> Response {
    let (code, object) = match written {
        Written::Created(object) => (201, object),
        Written::Updated(object) => (200, object),
    };
    one(view, code, object)
}

/// Adds what is odd about the request as `Warning` headers, which kubectl prints.
fn warned(call: &Call, mut response: Response) -> Response {
    for warning in call.warnings() {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        // A field name that cannot stand in a header is not told.
        if let Ok(value) = http::HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn one(view: &View, code: u16, object: &Arc<Object>) -> Response {
    let mut out = Vec::with_capacity(object.body.len() + 128);
    view.object(object, Columns::Defined, &mut out);
    json_response(code, out)
}

/// A response with a JSON value.
pub(crate) fn value(code: u16, value: &Value) -> Response {
    json_response(code, serde_json::to_vec(value).expect("a JSON value always serialises"))
}

/// A response with JSON text.
pub(crate) fn json_response(code: u16, body: Vec<u8>) -> Response {
    typed_response(code, "application/json", Body::from(body))
}

/// A response with a body of the given Content-Type.
pub(crate) fn typed_response(code: u16, content_type: &str, body: Body) -> Response {
    let response = Response::builder()
        .status(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CACHE_CONTROL, "no-cache, private")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response.body(body).expect("the header values are valid")
}

/// A failure as its Status object.
pub(crate) fn failure(status: &Status) -> Response {
    let mut response = value(status.code, &status.to_value());
    if let Some(seconds) = status.details["retryAfterSeconds"].as_u64() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn stream(watcher: Watcher) -> Response {
    let chunks = futures::stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), watcher))
    });
    typed_response(200, "application/json", Body::from_stream(chunks))
}
