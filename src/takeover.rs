//! `ordinal takeover --dry-run`: what would change if ordinal took over a cluster's StatefulSets now.

use anyhow::Context as _;
use jiff::Timestamp;

use crate::cli::TakeoverArgs;
use crate::config::ClusterConfig;
use crate::run;
use crate::statefulset::takeover::{Survey, survey};

/// Prints what would change, one object a line, and what sets wait for. `Ok(true)` when nothing would.
///
/// # Errors
/// No cluster, or no permission to list.
pub async fn run(args: &TakeoverArgs) -> anyhow::Result<bool> {
    let cluster = ClusterConfig { kubeconfig: args.kubeconfig.clone(), context: args.context.clone() };
    let client = run::client(&cluster).await?;
    let found = survey(client, args.namespace.as_deref(), Timestamp::now)
        .await
        .context("cannot list what the controller would look at")?;
    print!("{}", text(&found));
    Ok(found.intents.is_empty())
}

fn text(found: &Survey) -> String {
    let mut text = String::new();
    let mut line = |it: String| {
        text.push_str(&it);
        text.push('\n');
    };
    found.intents.iter().for_each(|it| line(it.to_string()));
    found.notes.iter().for_each(|it| line(format!("note: {it}")));
    let sets = found.sets;
    line(match found.intents.len() {
        0 => format!("StatefulSets looked at: {sets}; nothing would change"),
        count => format!("StatefulSets looked at: {sets}; {count} changes at first"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statefulset::takeover::Intent;

    #[test]
    fn one_line_an_object_and_a_sum() {
        assert_eq!(
            text(&Survey { sets: 2, ..Survey::default() }),
            "StatefulSets looked at: 2; nothing would change\n"
        );
        let found = Survey {
            sets: 1,
            intents: vec![Intent { object: "Pod default/web-0".into(), change: "adopt".into() }],
            notes: vec!["StatefulSet default/web waits: pod 1 is not ready".into()],
        };
        assert_eq!(
            text(&found),
            "Pod default/web-0: adopt\nnote: StatefulSet default/web waits: pod 1 is not ready\nStatefulSets looked at: 1; 1 changes at first\n"
        );
    }
}
