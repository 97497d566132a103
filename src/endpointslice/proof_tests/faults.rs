//! Every fault at every kind of write, one at a time: it ends as without, with no slice twice.

use std::time::Duration;

use serde_json::json;

use super::judge::{all_is_right, never_a_gap};
use super::world::{Fault, NAMESPACE, World};

/// What the controller is to do when the fault strikes.
#[derive(Debug, Clone, Copy)]
enum Site {
    Create,
    Update,
    Delete,
    Recycle,
}

async fn strike(site: Site, fault: Fault, cut: bool) {
    let why = format!("{fault:?} at {site:?}");
    let mut world = World::start(3).await;
    world
        .create_service(
            "web",
            json!({"selector": {"app": "web"}, "clusterIP": "None", "ports": [{"port": 80}]}),
        )
        .await;
    world.control().await;
    for number in 0..7 {
        world.put_pod(number, "web", "n1", true);
    }
    if !matches!(site, Site::Create) {
        world.settle(Duration::from_secs(5)).await;
    }
    world.gate.lock().unwrap().faults = vec![Some(fault)];
    match site {
        Site::Create => {}
        Site::Update => world.set_ready("web-0", false),
        Site::Delete => (0..6).for_each(|it| world.remove("pods", NAMESPACE, &format!("web-{it}"))),
        Site::Recycle => world.patch_service("web", json!({"spec": {"ports": [{"port": 81}]}})).await,
    }
    if cut {
        world.cut_watches();
    }
    world.settle(Duration::from_secs(120)).await;
    assert_eq!(world.gate.lock().unwrap().fired, [fault], "{why}: it happened");
    all_is_right(&world, false, &why);
    never_a_gap(&world, false);
    let (slices, pods) = (world.list("endpointslices").len(), world.list("pods").len());
    // Slices may be packed differently, but nothing is there twice.
    assert!(slices <= pods, "{why}: {slices} slices for {pods} pods");
    world.writes();
    world.settle(Duration::from_secs(600)).await;
    assert_eq!(world.writes(), [""; 0], "{why}: at rest");
    world.stop().await;
}

#[test]
fn every_fault_at_every_write() {
    let mut cells = 0;
    for site in [Site::Create, Site::Update, Site::Delete, Site::Recycle] {
        for fault in Fault::ALL {
            for cut in [false, true] {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
                runtime.unwrap().block_on(strike(site, fault, cut));
                cells += 1;
            }
        }
    }
    println!("{cells} cells");
}
