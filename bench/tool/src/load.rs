//! The load generator: one thread, several sockets, fixed duration.
//!
//! Closed loop: a fixed number of queries is outstanding at any time, which finds the most a server can do. Open loop:
//! queries leave at a given rate whatever comes back. Unless told otherwise the thread never sleeps: give it a CPU.
//! A latency counts from just before the query is handed to the kernel to the moment its reply has been received.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};

use crate::batch::{BATCH, Receiver, Sender};
use crate::message;
use crate::process::{Family, cpu_busy_and_stolen};

/// Queries that a socket remembers; an older one that is still unanswered is lost.
const SLOTS: usize = 1024;
/// A query that is unanswered for so long is lost, when a time is measured.
const PATIENCE: Duration = Duration::from_millis(500);
/// The same when a number of queries is sent: the server may run under valgrind.
const LONG_PATIENCE: Duration = Duration::from_secs(30);
/// Pause of a generator that does not keep its CPU busy; the kernel adds about as much.
const NAP: Duration = Duration::from_micros(50);
/// Datagrams of a socket that wait for us.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Most queries that are made up for at once after this thread was kept from running.
const MAX_CATCH_UP: u64 = 64;

/// What to send.
#[derive(Debug, Args)]
pub struct Options {
    /// The server, on a loopback address.
    #[arg(long)]
    server: SocketAddr,
    /// File with a question a line, `name type`; repeated from its start when it ends.
    #[arg(long)]
    queries: std::path::PathBuf,
    /// Measured time in seconds, after the warm-up.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Time in seconds before anything is counted.
    #[arg(long, default_value_t = 0.3)]
    warmup: f64,
    /// Open loop: queries in a second, evenly spaced.
    #[arg(long)]
    rate: Option<f64>,
    /// Stop after so many queries instead of a time; implies no warm-up.
    #[arg(long)]
    count: Option<u64>,
    /// Closed loop: queries outstanding over all sockets.
    #[arg(long, default_value_t = 512)]
    outstanding: usize,
    /// Sockets, each with its own source port.
    #[arg(long, default_value_t = 8)]
    sockets: usize,
    /// Sleep between queries instead of keeping a CPU busy: coarser, for background load at a rate.
    #[arg(long, requires = "rate")]
    yielding: bool,
    /// Process whose CPU time is measured, with its children.
    #[arg(long)]
    pid: Option<u32>,
    /// The CPU that process is bound to; what else runs there is reported.
    #[arg(long, default_value_t = 1)]
    server_cpu: usize,
    /// The CPU that this thread is bound to; what else runs there is reported.
    #[arg(long, default_value_t = 0)]
    own_cpu: usize,
}

/// Sends, waits for the last replies, and prints one line of `key=value`.
///
/// # Errors
/// Something that keeps the run from being meaningful: not loopback, no questions, a socket.
pub fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.server.ip().is_loopback(), "{} is not loopback", options.server);
    ensure!(options.server.is_ipv4(), "only IPv4 servers");
    let text = std::fs::read_to_string(&options.queries)
        .with_context(|| format!("{}", options.queries.display()))?;
    let mut generator = Generator::new(options, Questions::new(&text)?)?;
    let family = options.pid.map(Family::of).transpose()?;
    let cpu = || family.as_ref().map_or(0, Family::cpu_nanoseconds);
    let own = Family::of(std::process::id())?;
    // Seconds: what others did on both CPUs, and what the hypervisor took.
    let host = || {
        let (a, b) = (cpu_busy_and_stolen(options.server_cpu), cpu_busy_and_stolen(options.own_cpu));
        (a.0 + b.0 - own.cpu_nanoseconds() as f64 / 1e9, a.1 + b.1)
    };

    if let Some(count) = options.count {
        generator.run(None, Some(count));
        generator.drain();
        generator.tally.print(options, 0, Duration::from_secs(1), (0.0, 0.0));
        return Ok(());
    }
    generator.run(Some(Duration::from_secs_f64(options.warmup)), None);
    generator.tally = Tally::new();
    let (cpu_before, host_before, began) = (cpu(), host(), Instant::now());
    generator.run(Some(Duration::from_secs_f64(options.seconds)), None);
    let (cpu_after, host_after, took) = (cpu(), host(), began.elapsed());
    let received = generator.tally.received;
    generator.drain();
    // Replies of the drain belong to queries of the measured time, but their CPU time has not been counted.
    generator.tally.received = received;
    let foreign = host_after.0 - host_before.0 - (cpu_after - cpu_before) as f64 / 1e9;
    let host = (foreign, host_after.1 - host_before.1);
    generator.tally.print(options, cpu_after - cpu_before, took, host);
    Ok(())
}

/// All questions as packets, one behind the other.
struct Questions {
    octets: Vec<u8>,
    ends: Vec<u32>,
    next: usize,
}

impl Questions {
    fn new(text: &str) -> anyhow::Result<Self> {
        let mut all = Self { octets: Vec::new(), ends: Vec::new(), next: 0 };
        for line in text.lines().filter(|it| !it.trim().is_empty()) {
            all.octets.extend(message::query(line)?);
            all.ends.push(u32::try_from(all.octets.len()).context("too many questions")?);
        }
        ensure!(!all.ends.is_empty(), "no questions");
        Ok(all)
    }

    /// Where the next packet is.
    fn next(&mut self) -> std::ops::Range<usize> {
        let at = self.next;
        self.next = if at + 1 == self.ends.len() { 0 } else { at + 1 };
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        start as usize..self.ends[at] as usize
    }
}

/// One socket and the queries it remembers, by ID modulo [`SLOTS`].
struct Channel {
    socket: UdpSocket,
    slots: Box<[Slot]>,
    next_id: u16,
    in_flight: usize,
    heard: Instant,
}

#[derive(Clone, Copy)]
struct Slot {
    id: u16,
    /// `None`: answered, or never used.
    sent: Option<Instant>,
}

/// What is counted.
struct Tally {
    sent: u64,
    received: u64,
    lost: u64,
    rcodes: [u64; 16],
    answers: u64,
    /// Nanoseconds.
    latency: Histogram<u64>,
    /// Longest time this thread was behind its schedule.
    late: Duration,
    /// Queries left out because of that.
    skipped: u64,
}

struct Generator {
    questions: Questions,
    channels: Vec<Channel>,
    receiver: Receiver,
    sender: Sender,
    tally: Tally,
    per_channel: usize,
    rate: Option<f64>,
    yielding: bool,
    patience: Duration,
}

impl Generator {
    fn new(options: &Options, questions: Questions) -> anyhow::Result<Self> {
        let channels =
            (0..options.sockets).map(|_| Channel::new(options.server)).collect::<Result<_, _>>()?;
        let per_channel = options.outstanding.div_ceil(options.sockets);
        ensure!((1..=SLOTS).contains(&per_channel), "at most {SLOTS} outstanding queries a socket");
        let (receiver, sender) = (Receiver::new(), Sender::new());
        let (tally, rate, yielding) = (Tally::new(), options.rate, options.yielding);
        let patience = if options.count.is_some() { LONG_PATIENCE } else { PATIENCE };
        Ok(Self { questions, channels, receiver, sender, tally, per_channel, rate, yielding, patience })
    }

    /// Sends and receives for a time or a number of queries.
    fn run(&mut self, time: Option<Duration>, count: Option<u64>) {
        let began = Instant::now();
        let (first, mut due_before, mut turn) = (self.tally.sent, 0_u64, 0_usize);
        loop {
            let elapsed = began.elapsed();
            let left = count.map_or(u64::MAX, |it| it - (self.tally.sent - first));
            // Without a time, a server that has gone silent would hold us for ever.
            let gone = time.is_none() && self.tally.lost > 0;
            if time.is_some_and(|it| elapsed >= it) || left == 0 || gone {
                break;
            }
            if let Some(rate) = self.rate {
                let due = (elapsed.as_secs_f64() * rate) as u64;
                let behind = due - due_before;
                if behind > 0 {
                    let now = behind.min(MAX_CATCH_UP).min(left);
                    self.tally.late =
                        self.tally.late.max(Duration::from_secs_f64((behind - 1) as f64 / rate));
                    self.tally.skipped += behind - now;
                    due_before = due;
                    for _ in 0..now {
                        turn = (turn + 1) % self.channels.len();
                        self.send(turn, 1);
                    }
                }
                for at in 0..self.channels.len() {
                    self.receive(at);
                }
                if self.yielding {
                    std::thread::sleep(NAP);
                }
            } else {
                for at in 0..self.channels.len() {
                    self.receive(at);
                    let left = count.map_or(u64::MAX, |it| it - (self.tally.sent - first));
                    let room = (self.per_channel - self.channels[at].in_flight).min(BATCH);
                    let room = room.min(usize::try_from(left).unwrap_or(usize::MAX));
                    if room > 0 {
                        self.send(at, room);
                    } else {
                        self.give_up(at);
                    }
                }
            }
        }
    }

    /// Waits for what is still outstanding.
    fn drain(&mut self) {
        let began = Instant::now();
        while began.elapsed() < self.patience && self.channels.iter().any(|it| it.in_flight > 0) {
            for at in 0..self.channels.len() {
                self.receive(at);
            }
        }
        for channel in &mut self.channels {
            self.tally.lost += channel.forget();
        }
    }

    fn send(&mut self, at: usize, count: usize) {
        let channel = &mut self.channels[at];
        let mut ranges: [std::ops::Range<usize>; BATCH] = std::array::from_fn(|_| 0..0);
        let now = Instant::now();
        for range in &mut ranges[..count] {
            *range = self.questions.next();
            let id = channel.next_id;
            channel.next_id = id.wrapping_add(1);
            self.questions.octets[range.start..range.start + 2].copy_from_slice(&id.to_be_bytes());
            let slot = &mut channel.slots[usize::from(id) % SLOTS];
            if slot.sent.is_some() {
                self.tally.lost += 1;
                channel.in_flight -= 1;
            }
            *slot = Slot { id, sent: Some(now) };
        }
        let mut packets: [&[u8]; BATCH] = [&[]; BATCH];
        for (packet, range) in packets.iter_mut().zip(&ranges[..count]) {
            *packet = &self.questions.octets[range.clone()];
        }
        let mut done = 0;
        while done < count {
            // A query that the kernel refuses counts as lost in the end.
            done +=
                self.sender.send(&channel.socket, &packets[done..count], &[None; BATCH]).unwrap_or(1).max(1);
        }
        channel.in_flight += count;
        self.tally.sent += count as u64;
    }

    fn receive(&mut self, at: usize) {
        let channel = &mut self.channels[at];
        let Ok(1..) = self.receiver.receive(&channel.socket, MsgFlags::MSG_DONTWAIT) else { return };
        let now = Instant::now();
        channel.heard = now;
        for (reply, _) in self.receiver.datagrams() {
            if !message::is_reply(reply) {
                continue;
            }
            let id = u16::from_be_bytes([reply[0], reply[1]]);
            let slot = &mut channel.slots[usize::from(id) % SLOTS];
            let Some(sent) = slot.sent.filter(|_| slot.id == id) else { continue };
            slot.sent = None;
            channel.in_flight -= 1;
            let nanoseconds = u64::try_from((now - sent).as_nanos()).unwrap_or(u64::MAX);
            self.tally.latency.saturating_record(nanoseconds);
            self.tally.received += 1;
            self.tally.rcodes[usize::from(message::rcode(reply))] += 1;
            self.tally.answers += u64::from(message::answers(reply));
        }
    }

    /// Takes a silent channel's queries for lost, so that a closed loop goes on.
    fn give_up(&mut self, at: usize) {
        let channel = &mut self.channels[at];
        if channel.heard.elapsed() > self.patience {
            self.tally.lost += channel.forget();
            channel.heard = Instant::now();
        }
    }
}

impl Channel {
    fn new(server: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        socket.connect(server)?;
        let slots = vec![Slot { id: 0, sent: None }; SLOTS].into();
        Ok(Self { socket, slots, next_id: 0, in_flight: 0, heard: Instant::now() })
    }

    /// The number of queries that will never be answered any more.
    fn forget(&mut self) -> u64 {
        let lost = self.slots.iter_mut().filter_map(|it| it.sent.take()).count() as u64;
        self.in_flight = 0;
        lost
    }
}

impl Tally {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(100, 10_000_000_000, 3).expect("valid bounds");
        let (late, skipped) = (Duration::ZERO, 0);
        Self { sent: 0, received: 0, lost: 0, rcodes: [0; 16], answers: 0, latency, late, skipped }
    }

    /// `host`: seconds of the two CPUs that others used, and that were stolen from this machine.
    fn print(&self, options: &Options, cpu: u64, took: Duration, host: (f64, f64)) {
        let (cpu, took) = (cpu as f64 / 1e9, took.as_secs_f64());
        let at = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        let mut line = format!("answers={} lost={}", self.received, self.lost);
        if options.count.is_none() {
            line += &format!(" qps={:.0}", self.received as f64 / took);
        }
        if options.pid.is_some() {
            line += &format!(
                " cpu_us={:.3} util={:.3} foreign={:.3} steal={:.3}",
                cpu * 1e6 / self.received.max(1) as f64,
                cpu / took,
                (host.0 / took).max(0.0),
                host.1 / took
            );
        }
        line += &format!(
            " p50_us={:.1} p99_us={:.1} max_us={:.1} noerror={} nxdomain={} servfail={} records={}",
            at(0.5),
            at(0.99),
            self.latency.max() as f64 / 1e3,
            self.rcodes[0],
            self.rcodes[3],
            self.rcodes[2],
            self.answers
        );
        if options.rate.is_some() {
            line += &format!(" late_us={:.0} skipped={}", self.late.as_secs_f64() * 1e6, self.skipped);
        }
        println!("{line}");
    }
}
