//! Ratios between servers, made inside each round, because the machine's speed drifts from round to round.
//!
//! Input: lines of `round=N server=NAME key=value…`. Output: a Markdown table of medians and ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

/// What to compare.
#[derive(Debug, Args)]
pub struct Options {
    /// The collected lines.
    file: PathBuf,
    /// The value to compare.
    #[arg(long, default_value = "cpu_us")]
    metric: String,
    /// Servers to divide by.
    #[arg(long, value_delimiter = ',', default_value = "echo,nsd")]
    baselines: Vec<String>,
    /// Runs with a smaller `util` are left out: something else ran on the server's CPU, or it was not saturated.
    #[arg(long, default_value_t = 0.0)]
    min_util: f64,
    /// Runs with a larger `foreign` are left out: others used the CPUs of the server or of the generator.
    #[arg(long, default_value_t = f64::INFINITY)]
    max_foreign: f64,
    /// Only print how many rounds have every server.
    #[arg(long)]
    count: bool,
}

/// Prints the table.
///
/// # Errors
/// The file or a line of it.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(&options.file).with_context(|| format!("{}", options.file.display()))?;
    let runs = Runs::parse(&text, &options.metric, options.min_util, options.max_foreign)?;
    if options.count {
        println!("{}", runs.complete_rounds());
    } else {
        print!("{}", runs.table(&options.metric, &options.baselines));
    }
    Ok(())
}

/// One value by round and server.
struct Runs {
    rounds: BTreeMap<u32, BTreeMap<String, f64>>,
    /// In the order of their first line.
    servers: Vec<String>,
}

impl Runs {
    fn parse(text: &str, metric: &str, min_util: f64, max_foreign: f64) -> anyhow::Result<Self> {
        let mut runs = Self { rounds: BTreeMap::new(), servers: Vec::new() };
        for line in text.lines() {
            let pairs: BTreeMap<_, _> = line.split_whitespace().filter_map(|it| it.split_once('=')).collect();
            let get = |key: &str| pairs.get(key).copied().with_context(|| format!("no {key} in {line:?}"));
            let (round, server, value) = (get("round")?.parse()?, get("server")?, get(metric)?.parse()?);
            if !runs.servers.iter().any(|it| it == server) {
                runs.servers.push(server.to_owned());
            }
            let round = runs.rounds.entry(round).or_default();
            let util: f64 = get("util")?.parse()?;
            let foreign: f64 = get("foreign")?.parse()?;
            if util >= min_util && foreign <= max_foreign {
                round.insert(server.to_owned(), value);
            }
        }
        Ok(runs)
    }

    fn complete_rounds(&self) -> usize {
        self.rounds.values().filter(|it| it.len() == self.servers.len()).count()
    }

    /// `None` when no round has a usable pair.
    fn spread(&self, server: &str, baseline: Option<&str>) -> Option<Spread> {
        let values = self.rounds.values().filter_map(|round| {
            let divisor = baseline.map_or(Some(&1.0), |it| round.get(it))?;
            Some(round.get(server)? / divisor)
        });
        Spread::of(values.collect())
    }

    fn table(&self, metric: &str, baselines: &[String]) -> String {
        let known: BTreeSet<_> = self.servers.iter().collect();
        let baselines: Vec<_> = baselines.iter().filter(|it| known.contains(it)).collect();
        let mut text = format!("| server | runs | {metric} |");
        text.extend(baselines.iter().map(|it| format!(" / {it} |")));
        text += &format!("\n|---|---|---|{}\n", "---|".repeat(baselines.len()));
        for server in &self.servers {
            let Some(spread) = self.spread(server, None) else {
                text += &format!("| {server} | 0 | no usable run |\n");
                continue;
            };
            text += &format!("| {server} | {} | {} |", spread.count, spread.show());
            for baseline in &baselines {
                let ratio = self.spread(server, Some(baseline));
                text += &ratio.map_or_else(|| " - |".to_owned(), |it| format!(" {} |", it.show()));
            }
            text.push('\n');
        }
        text
    }
}

/// The middle and the ends of some values.
#[derive(Debug, PartialEq)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// `None` without values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let count = values.len();
        Some(Self { count, median: f64::midpoint(values[(count - 1) / 2], values[count / 2]), min, max })
    }

    fn show(&self) -> String {
        let digits = if self.median < 20.0 { 2 } else { 1 };
        format!("{:.digits$} ({:.digits$}-{:.digits$})", self.median, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_made_inside_a_round() {
        let text = "round=1 server=echo cpu_us=2 util=0.99 foreign=0\nround=1 server=ordinal cpu_us=3 util=1.00 foreign=0\n\
                    round=2 server=echo cpu_us=4 util=0.99 foreign=0\nround=2 server=ordinal cpu_us=6 util=0.98 foreign=0.01\n\
                    round=3 server=echo cpu_us=9 util=0.50 foreign=0\nround=3 server=ordinal cpu_us=3 util=0.98 foreign=0.01\n";
        let runs = Runs::parse(text, "cpu_us", 0.97, 0.05).unwrap();
        assert_eq!(runs.complete_rounds(), 2);
        let spread = runs.spread("ordinal", Some("echo")).unwrap();
        assert_eq!(spread, Spread { count: 2, median: 1.5, min: 1.5, max: 1.5 });
        assert!(
            runs.table("cpu_us", &["echo".into(), "nsd".into()])
                .ends_with("| ordinal | 3 | 3.00 (3.00-6.00) | 1.50 (1.50-1.50) |\n")
        );
        assert!(Runs::parse("server=x cpu_us=1", "cpu_us", 0.0, 1.0).is_err());
    }
}
