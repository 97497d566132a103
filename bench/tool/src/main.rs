//! The tools behind the scripts in `bench/`; docs/PERFORMANCE.md says what they measured.
//!
//! [`dataset`] is the test data, which [`zone`] and [`api`] bring into servers; [`load`] asks and [`echo`] is the limit;
//! [`compare`] makes ratios of many runs; [`propagation`], [`start`] and [`relist`] time what happens once.
#![allow(clippy::disallowed_methods, reason = "measuring tools wait for times, not only for conditions")]

mod api;
mod batch;
mod compare;
mod dataset;
mod echo;
mod load;
mod message;
mod process;
mod propagation;
mod relist;
mod start;
mod zone;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use dataset::{Mix, Shape};

/// Load generator, echo server and test data for the benchmarks of ordinal.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer every datagram with itself, QR set: what the kernel alone costs.
    Echo {
        /// Address to bind.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Ask a server for a fixed time and print one line of numbers.
    Load(load::Options),
    /// Write the zone as an RFC 1035 zone file.
    Zone {
        #[command(flatten)]
        shape: Shape,
        /// The file.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write the questions as dnsperf reads them.
    Queries {
        #[command(flatten)]
        shape: Shape,
        /// Which names.
        #[arg(long, value_enum, default_value = "all")]
        mix: Mix,
        /// How many.
        #[arg(long, default_value_t = 200_000)]
        count: usize,
        /// The same seed gives the same lines.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The file.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write the services as manifests for `ordinal up -f` or `kubectl create -f`.
    Manifests {
        #[command(flatten)]
        shape: Shape,
        /// The file.
        #[arg(long)]
        out: PathBuf,
    },
    /// Create the services in the API server of a kubeconfig, over plain HTTP.
    Apply {
        #[command(flatten)]
        shape: Shape,
        /// The kubeconfig.
        #[arg(long)]
        kubeconfig: PathBuf,
    },
    /// Change slices one after the other and time from the API server's answer to the first changed DNS answer.
    Propagation(propagation::Options),
    /// Start a DNS server and time until its first right answer.
    Start(start::Options),
    /// Make the server list everything again and compare its memory before, meanwhile and after.
    Relist(relist::Options),
    /// Make ratios of the lines `round=N server=NAME key=value…` that a script collected.
    Compare(compare::Options),
    /// Print a field of /proc/PID/status in KiB.
    Memory {
        /// The process.
        #[arg(long)]
        pid: u32,
        /// Such as VmRSS or VmHWM.
        #[arg(long, default_value = "VmRSS")]
        field: String,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Echo { listen } => echo::run(listen),
        Command::Load(options) => load::run(&options),
        Command::Zone { shape, out } => Ok(fs::write(out, zone::text(&shape.services()))?),
        Command::Queries { shape, mix, count, seed, out } => {
            let lines = dataset::queries(&shape.services(), mix, count, seed);
            Ok(fs::write(out, lines.join("\n") + "\n")?)
        }
        Command::Manifests { shape, out } => {
            let mut file = std::io::BufWriter::new(fs::File::create(out)?);
            let services = shape.services();
            let objects = services.iter().flat_map(api::objects);
            for object in api::namespaces().into_iter().chain(objects) {
                writeln!(file, "---\n{}", object.body)?;
            }
            Ok(file.flush()?)
        }
        Command::Apply { shape, kubeconfig } => {
            let began = std::time::Instant::now();
            let created = api::create(&api::server_of(&kubeconfig)?, &shape.services())?;
            println!("created={created} seconds={:.1}", began.elapsed().as_secs_f64());
            Ok(())
        }
        Command::Propagation(options) => propagation::run(&options),
        Command::Start(options) => start::run(&options),
        Command::Relist(options) => relist::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Memory { pid, field } => {
            println!("{}", process::kibibytes(pid, &field));
            Ok(())
        }
    }
}
