//! `GET /dns/explain?name=…&type=…`: an [`Explanation`] as JSON.
//!
//! request ──▶ [`Explainer`] ──[`Inspection`]──▶ `dns::watch`, which owns the cache ──▶ [`explain()`] ──▶ reply
//!
//! The cache is looked at where it lives, between two batches of events, so no second copy of the data exists. Requests
//! beyond [`MAX_INSPECTIONS`](crate::dns::watch::MAX_INSPECTIONS) are turned away with 503.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::BinEncodable as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{Explanation, Facts, explain};
use crate::dns::config::{DnsConfig, Zones};
use crate::dns::index::Index;
use crate::dns::lookup::RrType;
use crate::dns::name::{NameError, OwnerName};
use crate::dns::watch::Inspection;

/// Where explanations are served.
pub const PATH: &str = "/dns/explain";

/// Why a question cannot be explained. The message is for the person who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The name or the type cannot be asked: correct it.
    #[error("{0}")]
    Question(String),
    /// Too many explanations are under way, or the watch has ended: try again.
    #[error("busy with other explanations, try again")]
    Busy,
}

/// Explains names of one server.
#[derive(Clone)]
pub struct Explainer {
    index: Arc<Index>,
    zones: Arc<Zones>,
    config: Arc<DnsConfig>,
    inspections: mpsc::Sender<Inspection>,
}

impl Explainer {
    /// `index`, `zones`, `config`: those of the server. `inspections`: into its `dns::watch`.
    pub fn new(
        index: Arc<Index>,
        zones: Zones,
        config: DnsConfig,
        inspections: mpsc::Sender<Inspection>,
    ) -> Self {
        Self { index, zones: Arc::new(zones), config: Arc::new(config), inspections }
    }

    /// Explains one question.
    ///
    /// # Errors
    /// A question nobody can ask, or no room for it.
    pub async fn explain(&self, name: &str, rr_type: &str) -> Result<Explanation, ExplainError> {
        let (name, rr_type) = question(name, rr_type).map_err(ExplainError::Question)?;
        let (reply, answered) = oneshot::channel();
        let (index, zones, config) = (self.index.clone(), self.zones.clone(), self.config.clone());
        let inspection: Inspection = Box::new(move |cache| {
            let now = u32::try_from(Timestamp::now().as_second()).unwrap_or(0);
            let view = index.view();
            let facts = Facts { view: &view, cache, zones: &zones, config: &config, now };
            // Whoever asked may have gone.
            let _ = reply.send(explain(&facts, name.as_name(), rr_type));
        });
        self.inspections.try_send(inspection).map_err(|_| ExplainError::Busy)?;
        answered.await.map_err(|_| ExplainError::Busy)
    }

    /// The route, for the HTTP server of the process.
    pub fn router(self) -> Router {
        Router::new().route(PATH, get(serve)).with_state(self)
    }
}

async fn serve(State(explainer): State<Explainer>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let parameter = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == wanted).map(|(_, value)| value.into_owned())
    };
    let name = parameter("name").unwrap_or_default();
    let rr_type = parameter("type").unwrap_or_else(|| "A".into());
    let (status, body) = match explainer.explain(&name, &rr_type).await {
        Ok(explanation) => (StatusCode::OK, serde_json::to_string(&explanation)),
        Err(error) => {
            let status = match error {
                ExplainError::Question(_) => StatusCode::BAD_REQUEST,
                ExplainError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, serde_json::to_string(&json!({"error": error.to_string()})))
        }
    };
    let body = body.expect("strings and numbers can always be printed");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A name and a type as people write them: a final dot and upper case make no difference, `\DDD` and `\.` are escapes.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn question(name: &str, rr_type: &str) -> Result<(OwnerName, RrType), String> {
    if name.is_empty() {
        return Err("there is no name to look up".into());
    }
    let owner = owner_name(name).map_err(|error| format!("{name:?} is not a domain name: {error}"))?;
    Ok((owner, RrType(u16::from(record_type(rr_type)?))))
}

fn owner_name(name: &str) -> Result<OwnerName, String> {
    if !name.is_ascii() {
        return Err("it has characters outside of ASCII; write such labels in their xn-- form".into());
    }
    if name.contains('\\') {
        let mut parsed = Name::from_ascii(name).map_err(|error| error.to_string())?;
        parsed.set_fqdn(true);
        let wire = parsed.to_bytes().map_err(|error| error.to_string())?;
        return OwnerName::read(&wire).map_err(|error| error.to_string());
    }
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.strip_suffix('.').unwrap_or(name).split('.').filter(|_| name != ".") {
        let length = u8::try_from(label.len()).map_err(|_| NameError::LongLabel.to_string())?;
        if length == 0 {
            return Err(NameError::EmptyLabel.to_string());
        }
        wire.push(length);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    OwnerName::read(&wire).map_err(|error| error.to_string())
}

/// A type by its mnemonic or as `TYPE65` (RFC 3597 §5), in any case.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn record_type(text: &str) -> Result<RecordType, String> {
    let upper = text.to_ascii_uppercase();
    let number = upper.strip_prefix("TYPE").and_then(|it| it.parse::<u16>().ok()).map(RecordType::from);
    let special = match upper.as_str() {
        "IXFR" => Some(RecordType::IXFR),
        _ => None,
    };
    number.or(special).or_else(|| upper.parse().ok()).ok_or_else(|| {
        format!("{text:?} is not a record type; try A, AAAA, SRV, PTR or TXT, or TYPE and a number")
    })
}
