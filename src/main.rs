//! Parses the command line, runs one subcommand, turns its error into an exit code.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use ordinal::cli::{CheckConfigArgs, Cli, Command, LookupArgs, RunArgs, TakeoverArgs, UpArgs};
use ordinal::config::{self, Config, ConfigError};
use ordinal::reload::Reload;
use ordinal::up::{self, Demo};
use ordinal::{lookup, run, takeover, telemetry};

/// The command failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong. clap uses the same code.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Up(args) => up(args),
        Command::Run(args) => run_cluster(args),
        Command::Lookup(args) => look_up(&args).and_then(|found| if found { Ok(()) } else { Err(FAILED) }),
        Command::Takeover(args) => {
            take_over(&args).and_then(|quiet| if quiet { Ok(()) } else { Err(FAILED) })
        }
        Command::CheckConfig(args) => check_config(&args),
    };
    outcome.map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}

fn up(args: UpArgs) -> Result<(), u8> {
    let config = configured(config::for_up(&args))?;
    let logs = telemetry::init_logs(&config.log);
    let manifests = up::apply::read(&args.filename).map_err(failed)?;
    let demo = if args.demo { Demo::Apply } else { Demo::No };
    let file = args.common.config.clone();
    let reload = Reload::new(Box::new(move || config::for_up(&args)), file, config.clone(), logs);
    runtime()?.block_on(up::run(config, manifests, demo, reload)).map_err(failed)
}

fn run_cluster(args: RunArgs) -> Result<(), u8> {
    let config = configured(config::for_run(&args))?;
    let logs = telemetry::init_logs(&config.log);
    let file = args.common.config.clone();
    let reload = Reload::new(Box::new(move || config::for_run(&args)), file, config.clone(), logs);
    runtime()?.block_on(run::run(config, reload)).map_err(failed)
}

/// Whether there was an answer.
fn look_up(LookupArgs { name, record_type, server, explain, http, .. }: &LookupArgs) -> Result<bool, u8> {
    let runtime = runtime()?;
    let found = if *explain {
        runtime.block_on(lookup::explain::run(name, record_type, *http))
    } else {
        runtime.block_on(lookup::run(name, record_type, *server))
    };
    found.map_err(failed)
}

/// Whether nothing would change.
fn take_over(args: &TakeoverArgs) -> Result<bool, u8> {
    runtime()?.block_on(takeover::run(args)).map_err(failed)
}

fn check_config(args: &CheckConfigArgs) -> Result<(), u8> {
    let file = args.file.as_deref().or(args.common.config.as_deref());
    let checked = config::load(file).and_then(|mut it| {
        config::overlay_common(&mut it, &args.common)?;
        it.validate()?;
        Ok(it)
    });
    let config = configured(checked)?;
    let text =
        serde_saphyr::to_string(&config).context("the configuration cannot be printed").map_err(failed)?;
    print!("{text}");
    Ok(())
}

fn configured(config: Result<Config, ConfigError>) -> Result<Config, u8> {
    config.map_err(|error| {
        eprintln!("error: {:#}", anyhow::Error::new(error));
        USAGE
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, u8> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .map_err(failed)
}

fn failed(error: anyhow::Error) -> u8 {
    eprintln!("error: {error:#}");
    FAILED
}
