//! Questions that the zones cannot answer alone: names of others.
//!
//! ```text
//! packet ─▶ codec ─▶ lookup ─▶ onward? ─no─▶ reply
//!                                 │ yes
//!                                 ▼
//!          [`Forwarder::complete`]: lookup again ─▶ `dns::hosts` ─▶ `dns::upstream` ─▶ merge ─▶ reply
//! ```
//!
//! The codecs stay synchronous: they only find out that a question goes [`onward()`] and hand the packet over. What is ours
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

use hickory_proto::rr::rdata::{A, AAAA, HINFO, PTR};
use hickory_proto::rr::{RData, Record, RecordType};
use tracing::error;

pub use self::metrics::ForwardMetrics;
pub use self::onward::{Forwarding, Onward, check_loops, onward, servers};
use super::config::{ConfigError, DnsConfig, Shuffle, Zones};
use super::hosts::{Entry, Hosts};
use super::index::Index;
use super::lookup::{RrType, lookup};
use super::name::OwnerName;
use super::random::Random;
use super::reply::{Additions, Cookie, ExtendedError, Fixed, Rcode, Reply};
use super::request::{Header, Received, Request, receive};
use super::respond::{Content, Render, Transport, compose, to_name};
use super::upstream::{Failure, Question, Response, Upstream};

/// Extended DNS error "Other" (RFC 8914 §4.1).
const OTHER: ExtendedError = ExtendedError::Passed(0);

/// Completes answers with what others say.
pub struct Forwarder {
    index: Arc<Index>,
    zones: Zones,
    hosts: Option<Arc<Hosts>>,
    upstream: Option<Arc<Upstream>>,
    /// Seeds differ between processes, so that replicas do not order records alike.
    seeds: foldhash::fast::RandomState,
    requests: AtomicU64,
    metrics: ForwardMetrics,
}

/// What the zones say to a question.
struct Local {
    content: Content,
    additions: Additions<'static>,
    /// What to ask others.
    asked: Option<Question>,
    /// The place of the question's zone, see [`Zones::label_of`].
    zone: usize,
}

/// What others said.
#[derive(Debug)]
enum Found {
    /// A hosts file names it.
    Hosts(Vec<Record>),
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
    /// The key of `config` that cannot be used, a hosts file that cannot be read included.
    pub fn new(
        config: &DnsConfig,
        index: Arc<Index>,
        zones: Zones,
        metrics: ForwardMetrics,
    ) -> Result<Option<Self>, ConfigError> {
        let servers = servers(config)?;
        if servers.is_empty() && config.hosts.is_empty() {
            return Ok(None);
        }
        let upstream = (!servers.is_empty()).then(|| Arc::new(Upstream::new(servers, metrics.clone())));
        let hosts = match &config.hosts[..] {
            [] => None,
            files => Some(Arc::new(Hosts::open(files).map_err(ConfigError::from)?)),
        };
        let (seeds, requests) = (foldhash::fast::RandomState::default(), AtomicU64::new(0));
        Ok(Some(Self { index, zones, hosts, upstream, seeds, requests, metrics }))
    }

    /// The hosts files, which somebody has to [`follow`](Hosts::follow).
    pub fn hosts(&self) -> Option<Arc<Hosts>> {
        self.hosts.clone()
    }

    /// The reply to a packet whose question goes [`onward()`]; `None` for a packet that is no such question.
    pub async fn complete(
        &self,
        packet: &[u8],
        transport: Transport,
        cookie: Option<Cookie>,
    ) -> Option<Reply> {
        let mut name = OwnerName::ROOT;
        let Received::Query(request) = receive(packet, &mut name) else { return None };
        let Local { content, additions, asked, zone } = self.local(&request);
        let (content, additions) = match asked {
            None => (content, additions),
            Some(question) => merge(&request, content, self.find(&request, &question, transport).await),
        };
        let additions = Additions { cookie: cookie.as_ref(), ..additions };
        let limit = request.limit(transport, &self.zones);
        Some(Reply { zone, ..compose(&request, &self.zones, limit, &content, &additions) })
    }

    /// What the zones say.
    fn local(&self, request: &Request<'_>) -> Local {
        let view = self.index.view();
        if let Some(rcode) = request.refusal() {
            let (content, additions) = (Content::only(rcode), Additions::default());
            return Local { content, additions, asked: None, zone: self.zones.label_of(None) };
        }
        let answer = lookup(&view, &self.zones, request.name, request.rr_type);
        let asked = onward(&answer, request, &self.zones).map(|it| question(request, it));
        let render = Render { zones: &self.zones, serial: view.serial(), random: self.random() };
        Local {
            content: render.content(request, &answer),
            additions: Additions::of(&answer, view.freshness(), None),
            asked,
            zone: self.zones.label_of(answer.zone),
        }
    }

    async fn find(&self, request: &Request<'_>, question: &Question, transport: Transport) -> Found {
        if let Some(records) = self.find_in_hosts(request, question) {
            return Found::Hosts(records);
        }
        let Some(upstream) = &self.upstream else { return Found::Nothing };
        if request.edns.is_some_and(|it| upstream.is_own(it.options)) {
            if self.metrics.looped() == 0 {
                error!("a query of ours came back: an upstream server forwards to this one");
            }
            return Found::Loop;
        }
        match upstream.ask(question, transport).await {
            Ok(response) => Found::Response(response),
            Err(failure) => Found::Failed(failure),
        }
    }
}

impl Forwarder {
    /// The records of a name that a hosts file has, none for a type that it has not.
    fn find_in_hosts(&self, request: &Request<'_>, question: &Question) -> Option<Vec<Record>> {
        let table = self.hosts.as_ref()?.table();
        let entry = table.find(question.name.as_name(), question.rr_type)?;
        let mut data: Vec<RData> = match entry {
            Entry::A(all) => all.iter().map(|it| RData::A(A(*it))).collect(),
            Entry::Aaaa(all) => all.iter().map(|it| RData::AAAA(AAAA(*it))).collect(),
            Entry::Ptr(all) => all
                .iter()
                .filter_map(|it| to_name(it.as_name().wire()))
                .map(|it| RData::PTR(PTR(it)))
                .collect(),
            Entry::Hinfo => vec![RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()))],
            Entry::NoData => Vec::new(),
        };
        if self.zones.shuffle == Shuffle::On && question.rr_type != RrType::PTR {
            self.random().shuffle(&mut data);
        }
        let spelled = question.name.as_name() == request.name;
        let owner = to_name(if spelled { request.spelling() } else { question.name.as_name().wire() })?;
        Some(data.into_iter().map(|it| Record::from_rdata(owner.clone(), self.zones.ttl, it)).collect())
    }

    fn random(&self) -> Random {
        Random::new(self.seeds.hash_one(self.requests.fetch_add(1, Ordering::Relaxed)))
    }
}

fn question(request: &Request<'_>, asked: Onward<'_>) -> Question {
    let recursion_desired = match asked {
        Onward::Foreign(_) | Onward::Fallthrough(_) => request.header.recursion_desired(),
        // A question of ours, not of the client's, and no use half answered.
        Onward::Chase(_) => true,
    };
    Question {
        name: OwnerName::read(asked.name().wire()).expect("a name is well-formed"),
        rr_type: request.rr_type,
        recursion_desired,
        checking_disabled: request.header.checking_disabled(),
        dnssec_ok: request.edns.is_some_and(|it| it.dnssec_ok),
    }
}

/// One reply out of what the zones and what others say.
fn merge(request: &Request<'_>, local: Content, found: Found) -> (Content, Additions<'static>) {
    match found {
        Found::Nothing => (local, Additions::default()),
        Found::Hosts(records) => {
            // Ours to say, as with CoreDNS; there is no SOA to go with an absent type.
            let answers = local.answers.into_iter().chain(records).collect();
            let fixed = Fixed { rcode: Rcode::NoError, flags: Header::AA };
            (Content { answers, ..Content::empty(fixed) }, Additions::default())
        }
        Found::Failed(failure) => (failed(local), explained(failure.extended_error())),
        Found::Loop => (failed(local), explained(Some(OTHER))),
        Found::Response(response) => {
            let extended_error = response.extended_error.map(ExtendedError::Passed);
            (extend(request, local, response), explained(extended_error))
        }
    }
}

/// What the zones say to a missing name gives way to the response, all but its aliases. The aliases are authoritative; the response code is that of the
/// last name (RFC 6604 §3), and the authority section of a negative answer holds the SOA of its zone and nothing else.
fn extend(request: &Request<'_>, local: Content, response: Response) -> Content {
    let Response { rcode, truncated, answers: mut records, mut authority, additional, .. } = response;
    respell(request, &mut records);
    let (aliases, mut flags) = aliases(local);
    let mut additional = rrsets(additional);
    if !aliases.is_empty() {
        authority.retain(|it| it.record_type() == RecordType::SOA);
        additional.clear();
    }
    if truncated {
        flags |= Header::TC;
    }
    let answers = aliases.into_iter().chain(records).collect();
    Content { fixed: Fixed { rcode, flags }, answers, authority, additional }
}

/// What stays of a local answer that others complete: its aliases, and AA if there are any.
fn aliases(local: Content) -> (Vec<Record>, u8) {
    let flags = if local.answers.is_empty() { 0 } else { Header::AA };
    (local.answers, flags)
}

/// Nobody knows: the aliases, and SERVFAIL.
fn failed(local: Content) -> Content {
    let (answers, flags) = aliases(local);
    Content { answers, ..Content::empty(Fixed { rcode: Rcode::ServFail, flags }) }
}

fn explained(extended_error: Option<ExtendedError>) -> Additions<'static> {
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
