//! The user's first walk-through: a headless Service and a StatefulSet, scaled up and down, pods deleted,
//! their names in DNS all the while. Every kubectl version, the real binary, `dig` and `nslookup`.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::time::Duration;

use cluster::{Cluster, binaries, real};
use common::{Following, Kubectl, Ordinal, assert_in_order, fixture, has_dig, rows, wait_for, wait_until};

fn ready_pods(kubectl: &Kubectl) -> Vec<(String, String)> {
    rows(&kubectl.ok("get pod -n demo -l app=nginx -o wide"))
        .into_iter()
        .filter(|row| row[1] == "1/1" && row[2] == "Running")
        .map(|row| (row[0].clone(), row[5].clone()))
        .collect()
}

fn wait_ready(kubectl: &Kubectl, count: usize) -> Vec<(String, String)> {
    wait_for("the pods to be ready", || {
        let pods = ready_pods(kubectl);
        let total = rows(&kubectl.ok("get pod -n demo -l app=nginx")).len();
        if pods.len() == count && total == count {
            Ok(pods)
        } else {
            Err(format!("{total} pods, ready {pods:?}"))
        }
    })
}

/// The event of a pod. Kubernetes 1.36 begins it with a capital letter, the documents and ordinal do not.
fn told(verb: &str, ordinal: u32) -> String {
    let text = format!("{verb} Pod web-demo-{ordinal} in StatefulSet web-demo successful");
    if cluster::theirs() { text[..1].to_uppercase() + &text[1..] } else { text }
}

#[test]
fn the_names_of_a_stateful_set_follow_its_pods() {
    if !has_dig() {
        return;
    }
    for binary in binaries() {
        // Slow enough for `kubectl delete`, see `KUBECTL_DELETE`.
        let cluster = Cluster::whole_with(Duration::from_millis(250));
        walk(cluster.dns(), &cluster.kubectl(&binary));
    }
}

/// Name, readiness and status of each line that a watch of pods printed.
fn states(watched: &Following) -> Vec<String> {
    let text = watched.text();
    let lines = text.lines().filter(|line| !line.starts_with("NAME"));
    lines.map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect()
}

fn walk(ordinal: &Ordinal, kubectl: &Kubectl) {
    let name = |pod: &str| format!("{pod}.nginx-demo.demo.svc.cluster.local");
    assert_eq!(kubectl.ok("create ns demo").trim(), "namespace/demo created");
    let svc = fixture("walkthrough/nginx-svc.yaml");
    assert_eq!(kubectl.ok(&format!("create -f {}", svc.display())).trim(), "service/nginx-demo created");
    let services = kubectl.ok("get svc -n demo");
    assert!(
        services.starts_with("NAME         TYPE        CLUSTER-IP   EXTERNAL-IP   PORT(S)   AGE\n"),
        "{services}"
    );
    assert_eq!(rows(&services)[0][..5], ["nginx-demo", "ClusterIP", "None", "<none>", "80/TCP"]);
    assert_eq!(ordinal.dig_status(&name("web-demo-0"), "A"), "NXDOMAIN", "before the pod exists");

    let watched = kubectl.start("get pod -n demo -w -l app=nginx");
    let events = kubectl.start("get event -n demo -w");
    let sts = fixture("walkthrough/web-sts.yaml");
    assert_eq!(
        kubectl.ok(&format!("create -f {}", sts.display())).trim(),
        "statefulset.apps/web-demo created"
    );
    let sets = kubectl.ok("get sts -n demo");
    assert!(sets.starts_with("NAME       READY   AGE\nweb-demo "), "{sets}");
    let before = wait_ready(kubectl, 2);
    assert_eq!(before.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ["web-demo-0", "web-demo-1"]);
    watched.wait_for_line("web-demo-1 in the watch", |line| {
        line.starts_with("web-demo-1") && line.contains("1/1") && line.contains("Running")
    });
    events.wait_for_line("web-demo-1's creation among the events", |line| line.contains(&told("create", 1)));
    // Both watches are connected from here on; what came before may have been part of their first list.

    // The names, as the document asks for them: from a pod of the same namespace, through its search list.
    for (pod, ip) in &before {
        wait_until("the pod's name", || ordinal.dig_short(&name(pod), "A") == [ip.clone()]);
        let server = ordinal.dns();
        let nslookup = std::process::Command::new("nslookup")
            .arg(format!("-port={}", server.port()))
            .args([&name(pod), &server.ip().to_string()])
            .output()
            .expect("nslookup runs");
        let text = String::from_utf8_lossy(&nslookup.stdout).into_owned();
        assert!(text.contains(&format!("Name:\t{}\nAddress: {ip}", name(pod))), "{text}");
        let reverse = ip.split('.').rev().collect::<Vec<_>>().join(".") + ".in-addr.arpa";
        assert_eq!(ordinal.dig_short(&reverse, "PTR"), [name(pod) + "."]);
    }

    assert_eq!(
        kubectl.ok("scale sts web-demo -n demo --replicas=5").trim(),
        "statefulset.apps/web-demo scaled"
    );
    let five = wait_ready(kubectl, 5);
    assert_eq!(five[..2], before[..], "scaling leaves existing pods alone");
    let srv: Vec<String> = (0..5).map(|it| format!("0 20 80 {}.", name(&format!("web-demo-{it}")))).collect();
    wait_until("SRV of five pods", || {
        ordinal.dig_short("_web._tcp.nginx-demo.demo.svc.cluster.local", "SRV") == srv
    });

    assert_eq!(
        kubectl.ok("scale sts web-demo -n demo --replicas=2").trim(),
        "statefulset.apps/web-demo scaled"
    );
    assert_eq!(wait_ready(kubectl, 2), before);
    for ordinal_number in [2, 3, 4] {
        let gone = name(&format!("web-demo-{ordinal_number}"));
        wait_until("NXDOMAIN", || ordinal.dig_status(&gone, "A") == "NXDOMAIN");
    }
    let up = ["0/1 Pending", "0/1 Pending", "0/1 ContainerCreating", "1/1 Running"];
    let down = ["1/1 Terminating", "0/1 Terminating", "0/1 Terminating", "0/1 Terminating"];
    let lines = |pods: &mut dyn Iterator<Item = usize>, states: [&str; 4]| {
        pods.flat_map(|pod| states.map(|state| format!("web-demo-{pod} {state}"))).collect::<Vec<_>>()
    };
    let mut want = [lines(&mut (2..5), up), lines(&mut (2..5).rev(), down)].concat();
    // How often a pod on its way says the same is the API server's affair.
    let embedded = real::assets().is_none();
    if !embedded {
        want.dedup();
    }
    // Line by line as the document shows it. The watch may have begun after the first pods were made.
    wait_for("the watch", || {
        let mut shown = states(&watched);
        shown.retain(|it| !it.starts_with("web-demo-0") && !it.starts_with("web-demo-1"));
        if !embedded {
            shown.dedup();
        }
        if shown == want { Ok(()) } else { Err(watched.text()) }
    });
    for pod in ["web-demo-0", "web-demo-1"] {
        assert!(states(&watched).contains(&format!("{pod} 1/1 Running")), "{}", watched.text());
    }
    events.wait_for_line("the last event", |line| line.contains(&told("delete", 2)));
    let text = events.text();
    for (reason, object, message) in [
        ("Scheduled", "pod/web-demo-0", "Successfully assigned demo/web-demo-0 to "),
        ("Pulled", "pod/web-demo-2", "Container image \"nginx:1.19.2-alpine\" already present on machine"),
        ("Created", "pod/web-demo-1", "Created container nginx"),
        ("Started", "pod/web-demo-1", "Started container nginx"),
        ("Killing", "pod/web-demo-4", "Stopping container nginx"),
    ] {
        wait_until(&format!("event {reason}"), || {
            events.text().lines().any(|line| {
                line.contains("Normal")
                    && line.contains(reason)
                    && line.contains(object)
                    && line.contains(message)
            })
        });
    }
    let in_order: Vec<String> =
        (0..5).map(|it| told("create", it)).chain((2..5).rev().map(|it| told("delete", it))).collect();
    assert_in_order(&text, &in_order.iter().map(String::as_str).collect::<Vec<_>>());
    // Of the first two the watch may have listed some, sorted by name.
    for pod in 2..5 {
        let object = format!("pod/web-demo-{pod} ");
        let [created, scheduled, pulled, started] = [
            told("create", pod),
            format!("Scheduled          {object}"),
            format!("Pulled             {object}"),
            format!("Started            {object}"),
        ];
        let next = told("create", pod + 1);
        let mut order = vec![created.as_str(), &scheduled, &pulled, "Created container nginx", &started];
        order.extend((pod < 4).then_some(next.as_str()));
        assert_in_order(&text, &order);
    }

    let deleted = kubectl.ok("delete pod -l app=nginx -n demo");
    assert_in_order(&deleted, &["pod \"web-demo-0\" deleted", "pod \"web-demo-1\" deleted"]);
    let after = wait_ready(kubectl, 2);
    for ((pod, old), (same, new)) in before.iter().zip(&after) {
        assert_eq!(pod, same, "names stay");
        assert_ne!(old, new, "addresses change");
        wait_until("the new address", || ordinal.dig_short(&name(pod), "A") == [new.clone()]);
    }
    let wide = kubectl.ok("get pod -l app=nginx -n demo -o wide");
    let header: Vec<_> = wide
        .lines()
        .next()
        .unwrap_or_default()
        .split("  ")
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    assert_eq!(
        header,
        ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES"]
    );
}
