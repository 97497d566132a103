//! From a slice's change in the API server to the changed answer (P13).
//!
//! One change at a time: patch the address of the first pod of a service, and from the moment the API server has
//! acknowledged it ask for the pod's name every 100 µs until the new address is there.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::dataset::{Service, Shape};
use crate::{api, message};

/// Time between two questions.
const POLL: Duration = Duration::from_micros(100);
/// A change that takes longer is a failure.
const DEADLINE: Duration = Duration::from_secs(10);

/// What to change.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    shape: Shape,
    /// The kubeconfig of the API server, plain HTTP, which holds the data of this shape.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The DNS server.
    #[arg(long)]
    server: SocketAddr,
    /// How many changes.
    #[arg(long, default_value_t = 1000)]
    changes: usize,
    /// Milliseconds between two changes.
    #[arg(long, default_value_t = 5)]
    pause: u64,
}

/// Changes, waits and prints one line.
///
/// # Errors
/// A change that is refused or that never shows.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let server = api::server_of(&options.kubeconfig)?;
    let agent = api::agent();
    let mut services = options.shape.services();
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(options.server)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;

    let (mut from_ack, mut from_request) = (Vec::new(), Vec::new());
    let count = services.len();
    for change in 0..options.changes {
        let service = &mut services[change % count];
        ensure!(!service.addresses.is_empty(), "{} has no pods", service.name);
        service.addresses[0] = other(service.addresses[0]);
        let question = message::query(&format!("{}.{} A", service.pod(0), service.owner()))?;
        let requested = Instant::now();
        api::patch_slice(&agent, &server, service, 0)?;
        let acknowledged = Instant::now();
        until_changed(&socket, &question, service, acknowledged)?;
        from_ack.push(acknowledged.elapsed());
        from_request.push(requested.elapsed());
        std::thread::sleep(Duration::from_millis(options.pause));
    }
    let line = |name: &str, times: &mut Vec<Duration>| {
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
        format!("{name}_p50_ms={:.2} {name}_p99_ms={:.2} {name}_max_ms={:.2}", at(0.5), at(0.99), at(1.0))
    };
    println!(
        "changes={} {} {}",
        options.changes,
        line("ack", &mut from_ack),
        line("request", &mut from_request)
    );
    Ok(())
}

/// An address outside of the data set, and back.
pub fn other(address: Ipv4Addr) -> Ipv4Addr {
    let [_, b, c, d] = address.octets();
    Ipv4Addr::new(if address.octets()[0] == 10 { 11 } else { 10 }, b, c, d)
}

fn until_changed(
    socket: &UdpSocket,
    question: &[u8],
    service: &Service,
    began: Instant,
) -> anyhow::Result<()> {
    let mut reply = [0; 4096];
    loop {
        let asked = Instant::now();
        socket.send(question)?;
        let len = socket.recv(&mut reply).context("the DNS server does not answer")?;
        if message::only_address(&reply[..len]) == Some(service.addresses[0]) {
            return Ok(());
        }
        ensure!(began.elapsed() < DEADLINE, "the change of {} never showed", service.name);
        std::thread::sleep(POLL.saturating_sub(asked.elapsed()));
    }
}
