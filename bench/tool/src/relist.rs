//! What listing everything again costs in memory.
//!
//! A watcher that fell too far behind is told by the API server to start over (410 Gone). To get there the DNS server is
//! stopped (SIGSTOP) while one large slice is written more often than the API server remembers, and then continued.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::dataset::Shape;
use crate::process::{kibibytes, reset_peak};
use crate::{api, compare, propagation};

/// Bytes written while the server stands still: more than the embedded API server's 64 MiB and the socket's buffers.
const CHURN: usize = 96 << 20;
/// A list that takes longer is a failure.
const DEADLINE: Duration = Duration::from_secs(60);

/// What to list.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    shape: Shape,
    /// The kubeconfig of the API server, plain HTTP, which holds the data of this shape.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The DNS server's process.
    #[arg(long)]
    pid: u32,
    /// The DNS server's metrics address.
    #[arg(long)]
    http: SocketAddr,
    /// How often.
    #[arg(long, default_value_t = 10)]
    times: usize,
}

/// Prints a line for each relist, and one for all.
///
/// # Errors
/// A relist that does not happen.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let server = api::server_of(&options.kubeconfig)?;
    let agent = api::agent();
    let services = options.shape.services();
    let largest = services.iter().max_by_key(|it| it.addresses.len()).context("no services")?;
    let mut largest = largest.clone();
    let writes = CHURN / api::slice(&largest, 0).to_string().len();
    let pid = Pid::from_raw(options.pid.cast_signed());
    let first = kibibytes(options.pid, "VmRSS");
    let (mut ratios, mut after) = (Vec::new(), first);
    for round in 1..=options.times {
        let before = kibibytes(options.pid, "VmRSS");
        let lists = relists(options.http)?;
        kill(pid, Signal::SIGSTOP)?;
        let churned = (0..writes).try_for_each(|_| {
            // A write that changes nothing makes no event.
            largest.addresses[0] = propagation::other(largest.addresses[0]);
            api::patch_slice(&agent, &server, &largest, 0)
        });
        reset_peak(options.pid)?;
        kill(pid, Signal::SIGCONT)?;
        churned?;
        let began = Instant::now();
        while relists(options.http)? == lists {
            ensure!(began.elapsed() < DEADLINE, "no relist within {DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = began.elapsed();
        std::thread::sleep(Duration::from_secs(1));
        let peak = kibibytes(options.pid, "VmHWM");
        after = kibibytes(options.pid, "VmRSS");
        ratios.push(peak as f64 / before as f64);
        println!(
            "relist={round} ms={:.0} before_kib={before} peak_kib={peak} after_kib={after} peak_ratio={:.3}",
            took.as_secs_f64() * 1e3,
            peak as f64 / before as f64
        );
    }
    let spread = compare::Spread::of(ratios).context("no relists")?;
    println!(
        "relists={} peak_ratio_median={:.3} peak_ratio_max={:.3} growth={:.3}",
        spread.count,
        spread.median,
        spread.max,
        after as f64 / first as f64
    );
    Ok(())
}

/// How many full lists the server has published.
fn relists(http: SocketAddr) -> anyhow::Result<u64> {
    let text = ureq::get(format!("http://{http}/metrics")).call()?.body_mut().read_to_string()?;
    let line = text
        .lines()
        .find_map(|it| it.split_once("dns_relists_total ").filter(|(name, _)| !name.contains('#')))
        .map(|it| it.1);
    line.context("no ordinal_dns_relists_total in /metrics")?.trim().parse().context("a count")
}
