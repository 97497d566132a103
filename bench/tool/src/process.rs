//! What the kernel says about a process: CPU time, memory. Linux.

use std::fs;

use anyhow::Context as _;

/// A process, its children and all their threads.
#[derive(Debug, Clone)]
pub struct Family(Vec<u32>);

impl Family {
    /// `root` and its descendants of this moment.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(root: u32) -> anyhow::Result<Self> {
        fs::metadata(format!("/proc/{root}")).with_context(|| format!("no process {root}"))?;
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")?
            .filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid: u32| Some((pid, parent(pid)?)))
            .collect();
        let mut family = vec![root];
        let mut at = 0;
        while at < family.len() {
            let of = family[at];
            family.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
            at += 1;
        }
        Ok(Self(family))
    }

    /// CPU time so far in nanoseconds: the first field of every thread's schedstat.
    pub fn cpu_nanoseconds(&self) -> u64 {
        let tasks = self.0.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        tasks
            .flatten()
            .filter_map(|it| fs::read_to_string(it.ok()?.path().join("schedstat")).ok())
            .filter_map(|it| it.split_whitespace().next()?.parse::<u64>().ok())
            .sum()
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A field of /proc/PID/status in KiB, such as `VmRSS` or `VmHWM`; 0 if there is none.
pub fn kibibytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Makes `VmHWM` start again from the memory of this moment.
///
/// # Errors
/// Not our process.
pub fn reset_peak(pid: u32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").with_context(|| format!("clear_refs of {pid}"))
}

/// Time that one CPU has spent so far, in seconds: working, and taken away by the hypervisor.
pub fn cpu_busy_and_stolen(cpu: usize) -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|it| it.strip_prefix(&format!("cpu{cpu} "))).unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    let [user, nice, system, _, _, irq, softirq, stolen, ..] = ticks[..] else { return (0.0, 0.0) };
    ((user + nice + system + irq + softirq) / 100.0, stolen / 100.0)
}
