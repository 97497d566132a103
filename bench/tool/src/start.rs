//! From the start of a DNS server to its first right answer (P15), and its memory then (P16).

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::dataset::Shape;
use crate::message;
use crate::process::{Family, kibibytes};

/// Time between two questions.
const POLL: Duration = Duration::from_micros(500);
/// A server that takes longer is a failure.
const DEADLINE: Duration = Duration::from_secs(120);

/// What to start.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    shape: Shape,
    /// The DNS server's address.
    #[arg(long)]
    server: SocketAddr,
    /// Seconds after the first right answer when memory is read.
    #[arg(long, default_value_t = 3.0)]
    settle: f64,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Starts, waits, prints one line and ends the server.
///
/// # Errors
/// No right answer in time.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let services = options.shape.services();
    // The last service of the list and the last pod of it: a partial list does not have it by chance.
    let service = services.last().context("no services")?;
    let last = service.addresses.len().checked_sub(1).context("a service without pods")?;
    let question = message::query(&format!("{}.{} A", service.pod(last), service.owner()))?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(options.server)?;
    socket.set_read_timeout(Some(POLL))?;

    let began = Instant::now();
    let mut command = Command::new(&options.command[0]);
    command.args(&options.command[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = Stopped(command.spawn().with_context(|| format!("cannot start {}", options.command[0]))?);
    let pid = child.0.id();
    let (mut first_answer, mut reply) = (None, [0; 4096]);
    loop {
        // Refused until the server has bound its port.
        let len = socket.send(&question).and_then(|_| socket.recv(&mut reply)).unwrap_or(0);
        if len >= 12 && first_answer.is_none() {
            first_answer = Some(began.elapsed());
        }
        if message::only_address(&reply[..len]) == Some(service.addresses[last]) {
            break;
        }
        if let Some(status) = child.0.try_wait()? {
            bail!("the server ended with {status}");
        }
        if began.elapsed() > DEADLINE {
            bail!("no right answer within {DEADLINE:?}");
        }
        if len == 0 {
            std::thread::sleep(POLL);
        }
    }
    let took = began.elapsed();
    let cpu = Family::of(pid)?.cpu_nanoseconds();
    let peak = kibibytes(pid, "VmHWM");
    std::thread::sleep(Duration::from_secs_f64(options.settle));
    println!(
        "right_ms={:.0} first_ms={:.0} cpu_ms={:.0} peak_kib={peak} rss_kib={}",
        took.as_secs_f64() * 1e3,
        first_answer.unwrap_or(took).as_secs_f64() * 1e3,
        cpu as f64 / 1e6,
        kibibytes(pid, "VmRSS"),
    );
    Ok(())
}

/// A child that ends with us.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
