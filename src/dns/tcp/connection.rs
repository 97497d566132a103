//! One TCP connection: reads queries, writes replies, keeps its limits.
//!
//! octets ──[`Frames`]──▶ message ──[`Service`]──▶ [`Response`] ──▶ octets
//!                                                   └─ later ─▶ waits beside the others, up to `maxInFlight`
//!
//! Invariants: no more is read while a whole query waits, so a client that does not take its replies, or has too many
//! queries open, is slowed down by TCP itself. What waits in memory is one message and one piece of input, one round of
//! replies, and what the replies under way hold. An idle connection holds no buffer.

use std::future::{pending, ready};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream, SelectAll};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::frames::{Frames, append};
use super::metrics::{Limit, TcpMetrics};
use super::pool::Place;
use super::{Response, Service};

/// Octets read at once: how much a client can pipeline before it has to read replies.
const READ_AHEAD: usize = 4096;
/// Octets of replies that are collected before they are written.
const WRITE_ROUND: usize = 64 * 1024;

/// What a connection needs besides its socket.
pub struct Connection<S> {
    /// Answers the queries.
    pub service: S,
    /// What is counted.
    pub metrics: TcpMetrics,
    /// See [`Timing`].
    pub timing: Timing,
    /// Replies under way at once.
    pub max_in_flight: usize,
    /// The connection's place among all.
    pub place: Place,
    /// Times are counted from here.
    pub epoch: Instant,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Without a query, and to take one round of replies.
    pub idle: Duration,
    /// From the first octet of a message to its last.
    pub read: Duration,
}

/// Whether more queries may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// The server stops: what has arrived is still answered.
    Draining,
    Closed,
}

/// How a wait ended.
enum Event {
    Readable,
    Reply(Vec<u8>),
    /// A reply under way has been written whole.
    Complete,
    TimedOut(Limit),
    Closing,
    Stopping,
}

/// Replies under way: their messages, and `None` after the last one of each.
type Later = SelectAll<BoxStream<'static, Option<Vec<u8>>>>;

impl<S: Service> Connection<S> {
    /// Answers until the client closes the connection or meets a limit, or until `stop`: then what has arrived is
    /// answered.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn serve(
        self,
        mut stream: TcpStream,
        client: SocketAddr,
        stop: CancellationToken,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.split();
        let (mut frames, mut out) = (Frames::default(), Vec::new());
        let (mut later, mut in_flight) = (Later::new(), 0);
        let mut input = Input::Open;
        let mut was_held_back = false;
        let mut idle_since = Instant::now();
        // When the message that has come in part began.
        let mut began: Option<Instant> = None;
        loop {
            while in_flight < self.max_in_flight && out.len() < WRITE_ROUND {
                let Some(message) = frames.next() else { break };
                (began, was_held_back) = (None, false);
                match self.service.answer(message, client) {
                    Response::None => {}
                    Response::Now(reply) => {
                        append(&mut out, &reply);
                    }
                    Response::Later(replies) => {
                        let end = stream::once(ready(None));
                        later.push(replies.map(Some).chain(end).boxed());
                        in_flight += 1;
                    }
                }
            }
            if !out.is_empty() {
                self.place.busy();
                match timeout(self.timing.idle, write.write_all(&out)).await {
                    Ok(written) => written?,
                    Err(_) => {
                        self.metrics.hit(Limit::Write);
                        return Ok(());
                    }
                }
                out = Vec::new();
                idle_since = Instant::now();
            }
            let held_back = frames.has_message();
            if held_back {
                if in_flight < self.max_in_flight {
                    continue;
                }
                if !std::mem::replace(&mut was_held_back, true) {
                    self.metrics.hit(Limit::InFlight);
                }
            } else if input == Input::Closed && in_flight == 0 {
                return Ok(());
            }
            if in_flight > 0 {
                self.place.busy();
            } else {
                self.place.idle(idle_since.saturating_duration_since(self.epoch).as_millis() as u64);
            }
            let reads = input == Input::Open && !held_back;
            // Whoever is owed a reply is not idle.
            let deadline = if !reads {
                None
            } else if !frames.is_empty() {
                Some((*began.get_or_insert_with(Instant::now) + self.timing.read, Limit::Read))
            } else if in_flight == 0 {
                Some((idle_since + self.timing.idle, Limit::Idle))
            } else {
                None
            };
            if input == Input::Draining && !held_back {
                if !matches!(fill(&read, &mut frames)?, Found::Octets) {
                    input = Input::Closed;
                }
                continue;
            }
            let event = tokio::select! {
                readable = read.readable(), if reads => readable.map(|()| Event::Readable)?,
                Some(reply) = later.next(), if in_flight > 0 => reply.map_or(Event::Complete, Event::Reply),
                limit = expiry(deadline) => Event::TimedOut(limit),
                () = self.place.closing() => Event::Closing,
                () = stop.cancelled(), if input == Input::Open => Event::Stopping,
            };
            match event {
                Event::Readable => {
                    if matches!(fill(&read, &mut frames)?, Found::End) {
                        input = Input::Closed;
                    }
                }
                Event::Reply(reply) => {
                    append(&mut out, &reply);
                }
                Event::Complete => {
                    in_flight -= 1;
                    idle_since = Instant::now();
                }
                Event::TimedOut(limit) => {
                    self.metrics.hit(limit);
                    input = Input::Closed;
                }
                Event::Closing => return Ok(()),
                Event::Stopping => input = Input::Draining,
            }
        }
    }
}

/// Resolves when the deadline has passed, never without one.
async fn expiry(deadline: Option<(Instant, Limit)>) -> Limit {
    match deadline {
        Some((at, limit)) => {
            sleep_until(at).await; // allow-sleep: the timeout itself
            limit
        }
        None => pending().await,
    }
}

/// What one attempt to read found.
enum Found {
    Octets,
    Nothing,
    End,
}

/// Reads what has arrived, at most one piece, without waiting. The piece lives on the stack: a connection that waits holds
/// no buffer.
fn fill(read: &ReadHalf<'_>, frames: &mut Frames) -> io::Result<Found> {
    let mut piece = [0; READ_AHEAD];
    match read.try_read(&mut piece) {
        Ok(0) => Ok(Found::End),
        Ok(len) => {
            frames.push(&piece[..len]);
            Ok(Found::Octets)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}
