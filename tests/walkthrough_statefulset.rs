//! The user's first walk-through: a headless Service and a StatefulSet, scaled up and down, pods deleted,
//! their names in DNS all the while. Every kubectl version, the real binary, `dig` and `nslookup`.

mod common;

use common::{Kubectl, Ordinal, assert_in_order, fixture, has_dig, kubectls, rows, wait_for, wait_until};

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

#[test]
fn the_names_of_a_stateful_set_follow_its_pods() {
    if !has_dig() {
        return;
    }
    for binary in kubectls() {
        let ordinal = Ordinal::up(&["--start-delay=50ms", "--ready-delay=50ms", "--stop-delay=50ms"]);
        walk(&ordinal, &ordinal.kubectl(&binary));
    }
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
    events.wait_for_line("web-demo-1's creation among the events", |line| {
        line.contains("create Pod web-demo-1 in StatefulSet web-demo successful")
    });
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
    watched.wait_for_line("web-demo-2 terminating", |line| {
        line.starts_with("web-demo-2") && line.contains("0/1") && line.contains("Terminating")
    });
    let states = |line: &str| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let watched: Vec<String> = watched.text().lines().map(states).collect();
    let rising = (2..5).flat_map(|number| {
        ["0/1 Pending", "0/1 ContainerCreating", "1/1 Running"]
            .map(|state| format!("web-demo-{number} {state}"))
    });
    let falling = (2..5).rev().flat_map(|number| {
        ["1/1 Terminating", "0/1 Terminating"].map(|state| format!("web-demo-{number} {state}"))
    });
    let wanted: Vec<String> = rising.chain(falling).collect();
    assert_in_order(&watched.join("\n"), &wanted.iter().map(String::as_str).collect::<Vec<_>>());
    events.wait_for_line("the last event", |line| {
        line.contains("delete Pod web-demo-2 in StatefulSet web-demo successful")
    });
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
    let in_order: Vec<String> = (2..5)
        .map(|it| format!("create Pod web-demo-{it} in StatefulSet web-demo successful"))
        .chain((2..5).rev().map(|it| format!("delete Pod web-demo-{it} in StatefulSet web-demo successful")))
        .collect();
    assert_in_order(&text, &in_order.iter().map(String::as_str).collect::<Vec<_>>());

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
