//! The data set as an RFC 1035 zone, with the records that `ordinal` makes of the same services.

use std::fmt::Write as _;

use crate::dataset::{PORT, Service, TTL, ZONE};

/// The whole zone file: SOA, NS and glue, then A of each pod, A and SRV of each service.
pub fn text(services: &[Service]) -> String {
    let (port, number) = PORT;
    let mut text = format!(
        "$ORIGIN {ZONE}.\n$TTL {TTL}\n\
         @ SOA ns.dns hostmaster 1 7200 1800 86400 {TTL}\n\
         @ NS ns.dns\nns.dns A 127.0.0.1\ndns-version 28800 TXT \"1.1.0\"\n"
    );
    for service in services {
        let owner = format!("{}.{}.svc", service.name, service.namespace);
        for (pod, address) in service.addresses.iter().enumerate() {
            let pod = service.pod(pod);
            let weight = (100 / service.addresses.len()).max(1);
            writeln!(text, "{pod}.{owner} A {address}\n{owner} A {address}")
                .expect("a String takes everything");
            writeln!(text, "_{port}._tcp.{owner} SRV 0 {weight} {number} {pod}.{owner}")
                .expect("a String takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Shape;

    #[test]
    fn every_pod_has_three_records() {
        let text = text(&Shape { services: 2, endpoints: 4, wide: 0 }.services());
        let records: Vec<_> = text.lines().skip_while(|it| !it.starts_with("web-")).collect();
        assert_eq!(records.len(), 12);
        assert_eq!(
            records[..3],
            [
                "web-0-0.web-0.team-0.svc A 10.0.0.1",
                "web-0.team-0.svc A 10.0.0.1",
                "_http._tcp.web-0.team-0.svc SRV 0 50 8080 web-0-0.web-0.team-0.svc",
            ]
        );
    }
}
