//! Questions that the zones cannot answer alone: names of others.
//!
//! ```text
//! packet ─▶ codec ─▶ lookup ─▶ onward? ─no─▶ reply
//!                                 │ yes
//!                                 ▼
//!          [`Forwarder::complete`]: lookup again ─▶ `dns::upstream` ─▶ merge ─▶ reply
//! ```
//!
//! The codecs stay synchronous: they only find out that a question goes [`onward`] and hand the packet over. What is ours
//! in a merged reply stays authoritative, what is not never becomes so. The served zones are looked up for every packet
//! and never kept; only responses of upstream servers are.
//! A query without RD is passed on without it: what a forwarder does not know, its upstream decides (RFC 5625 §4.1, as
//! CoreDNS does). AD is never set: nothing is validated here.
//! Sources: RFC 1034 §4.3.2, RFC 2308, RFC 5625, RFC 6604, RFC 8914.

mod metrics;
mod onward;

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hickory_proto::rr::Record;
use tracing::error;

pub use self::metrics::ForwardMetrics;
pub use self::onward::{Forwarding, Onward, check_loops, onward, servers};
use super::config::{ConfigError, DnsConfig, Zones};
use super::index::Index;
use super::name::{NameRef, OwnerName};
use super::random::Random;
use super::reply::{Additions, ExtendedError, Fixed, Rcode, Reply};
use super::request::{Header, Received, Request, receive};
use super::respond::{Content, Render, Transport, Verdict, compose, decide, to_name};
use super::upstream::{Failure, Question, Response, Upstream};

/// Extended DNS error "Other" (RFC 8914 §4.1).
const OTHER: ExtendedError = ExtendedError::Passed(0);

/// Completes answers with what others say.
pub struct Forwarder {
    index: Arc<Index>,
    zones: Zones,
    upstream: Option<Arc<Upstream>>,
    /// Seeds differ between processes, so that replicas do not order records alike.
    seeds: foldhash::fast::RandomState,
    requests: AtomicU64,
    metrics: ForwardMetrics,
}

/// What the zones say to a question.
struct Local {
    content: Content,
    additions: Additions,
    /// The name to ask others about.
    asked: Option<OwnerName>,
    /// The place of the question's zone, see [`Zones::label_of`].
    zone: usize,
}

/// What others said.
#[derive(Debug)]
enum Found {
    /// An upstream server answered.
    Response(Response),
    /// None did.
    Failed(Failure),
    /// Our own query came back to us.
    Loop,
    /// There is nobody to ask.
    Nothing,
}

impl Forwarder {
    /// `None`: nothing ever goes onward.
    ///
    /// # Errors
    /// The key of `config` that cannot be used.
    pub fn new(
        config: &DnsConfig,
        index: Arc<Index>,
        zones: Zones,
        metrics: ForwardMetrics,
    ) -> Result<Option<Self>, ConfigError> {
        let servers = servers(config)?;
        if servers.is_empty() {
            return Ok(None);
        }
        let upstream = Some(Arc::new(Upstream::new(servers, metrics.clone())));
        let (seeds, requests) = (foldhash::fast::RandomState::default(), AtomicU64::new(0));
        Ok(Some(Self { index, zones, upstream, seeds, requests, metrics }))
    }

    /// The reply to a packet whose question goes [`onward`]; `None` for a packet that is no such question.
    pub async fn complete(&self, packet: &[u8], transport: Transport) -> Option<Reply> {
        let Received::Query(request) = receive(packet) else { return None };
        let Local { content, additions, asked, zone } = self.local(&request);
        let (content, additions) = match asked {
            None => (content, additions),
            Some(name) => merge(&request, content, self.find(&request, name, transport).await),
        };
        let limit = request.limit(transport, &self.zones);
        Some(Reply { zone, ..compose(&request, &self.zones, limit, &content, &additions) })
    }

    /// What the zones say.
    fn local(&self, request: &Request<'_>) -> Local {
        let view = self.index.view();
        let (answer, asked) = match decide(request, &view, &self.zones) {
            Verdict::Refused(rcode) => {
                let (content, additions) = (Content::only(rcode), Additions::default());
                return Local { content, additions, asked: None, zone: self.zones.label_of(None) };
            }
            Verdict::Answer(answer) => (answer, None),
            Verdict::Onward(answer, asked) => (answer, Some(own(asked.name()))),
        };
        let seed = self.seeds.hash_one(self.requests.fetch_add(1, Ordering::Relaxed));
        let render = Render { zones: &self.zones, serial: view.serial(), random: Random::new(seed) };
        Local {
            content: render.content(request, &answer),
            additions: Additions::of(&answer),
            asked,
            zone: self.zones.label_of(answer.zone),
        }
    }

    async fn find(&self, request: &Request<'_>, name: OwnerName, transport: Transport) -> Found {
        let Some(upstream) = &self.upstream else { return Found::Nothing };
        if request.edns.is_some_and(|it| upstream.is_own(it.options)) {
            if self.metrics.looped() == 0 {
                error!("a query of ours came back: an upstream server forwards to this one");
            }
            return Found::Loop;
        }
        let question = Question {
            name,
            rr_type: request.rr_type,
            recursion_desired: request.header.recursion_desired(),
            checking_disabled: request.header.checking_disabled(),
            dnssec_ok: request.edns.is_some_and(|it| it.dnssec_ok),
        };
        match upstream.ask(&question, transport).await {
            Ok(response) => Found::Response(response),
            Err(failure) => Found::Failed(failure),
        }
    }
}

fn own(name: NameRef<'_>) -> OwnerName {
    OwnerName::read(name.wire()).expect("a name is well-formed")
}

/// One reply out of what the zones and what others say.
fn merge(request: &Request<'_>, local: Content, found: Found) -> (Content, Additions) {
    match found {
        Found::Nothing => (local, Additions::default()),
        Found::Failed(failure) => failed(failure.extended_error()),
        Found::Loop => failed(Some(OTHER)),
        Found::Response(response) => {
            let mut answers = response.answers;
            respell(request, &mut answers);
            let flags = if response.truncated { Header::TC } else { 0 };
            let content = Content {
                fixed: Fixed { rcode: response.rcode, flags },
                answers,
                authority: response.authority,
                additional: rrsets(response.additional),
            };
            (content, explained(response.extended_error.map(ExtendedError::Passed)))
        }
    }
}

fn failed(why: Option<ExtendedError>) -> (Content, Additions) {
    (Content::only(Rcode::ServFail), explained(why))
}

fn explained(extended_error: Option<ExtendedError>) -> Additions {
    Additions { extended_error, ..Additions::default() }
}

/// Owner names that are the name asked for repeat its spelling: others were asked in lower case.
fn respell(request: &Request<'_>, answers: &mut [Record]) {
    let Some(spelling) = to_name(request.spelling()) else { return };
    for record in answers.iter_mut().filter(|it| it.name == spelling) {
        record.name.clone_from(&spelling);
    }
}

/// Groups records that belong together, in order.
fn rrsets(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut sets: Vec<Vec<Record>> = Vec::new();
    for record in records {
        let same = |it: &&mut Vec<Record>| {
            it.first().is_some_and(|it| it.record_type() == record.record_type() && it.name == record.name)
        };
        match sets.last_mut().filter(same) {
            Some(set) => set.push(record),
            None => sets.push(vec![record]),
        }
    }
    sets
}
