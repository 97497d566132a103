//! The environment and the flags, laid over the file.

use super::{Config, ConfigError, Mode, load};
use crate::cli::{CommonArgs, DnsArgs, EndpointArgs, RunArgs, ServeArgs, UpArgs};
use crate::dns::DnsConfig;
use crate::endpointslice::config::EndpointsConfig;

/// The configuration of `up`: file, then environment and flags over it.
///
/// # Errors
/// Unreadable, unparsable or invalid.
pub fn for_up(args: &UpArgs) -> Result<Config, ConfigError> {
    let mut config = load(args.common.config.as_deref())?;
    overlay_common(&mut config, &args.common)?;
    overlay_serve(&mut config, &args.serve)?;
    set(&mut config.api.listen, args.api_listen);
    set(&mut config.api.tls, args.tls);
    overlay_list(&mut config.api.tls_san, &args.tls_san);
    set(&mut config.api.kubeconfig_out, args.kubeconfig_out.clone());
    overlay_optional(&mut config.api.data_dir, args.data_dir.clone());
    set(&mut config.api.dual_stack, args.dual_stack);
    set(&mut config.node.simulate, args.simulate_node);
    set(&mut config.node.start_delay, args.start_delay);
    set(&mut config.node.ready_delay, args.ready_delay);
    set(&mut config.node.stop_delay, args.stop_delay);
    config.validate()?;
    config.check_machine(Mode::Up)?;
    Ok(config)
}

/// The configuration of `run`: file, then environment and flags over it.
///
/// # Errors
/// Unreadable, unparsable or invalid.
pub fn for_run(args: &RunArgs) -> Result<Config, ConfigError> {
    let mut config = load(args.common.config.as_deref())?;
    overlay_common(&mut config, &args.common)?;
    overlay_serve(&mut config, &args.serve)?;
    overlay_optional(&mut config.cluster.kubeconfig, args.kubeconfig.clone());
    overlay_optional(&mut config.cluster.context, args.context.clone());
    overlay_optional(&mut config.api.qps, args.api_qps);
    overlay_optional(&mut config.api.burst, args.api_burst);
    set(&mut config.leader_election.enabled, args.leader.leader_elect);
    overlay_optional(
        &mut config.leader_election.namespace,
        args.leader.leader_elect_resource_namespace.clone(),
    );
    set(&mut config.leader_election.lease_duration, args.leader.leader_elect_lease_duration);
    set(&mut config.leader_election.renew_deadline, args.leader.leader_elect_renew_deadline);
    set(&mut config.leader_election.retry_period, args.leader.leader_elect_retry_period);
    config.validate()?;
    config.check_machine(Mode::Run)?;
    Ok(config)
}

/// Lays the options every command has over `config`.
///
/// # Errors
/// A log format that is neither `text` nor `json`.
pub fn overlay_common(config: &mut Config, args: &CommonArgs) -> Result<(), ConfigError> {
    set(&mut config.log.level, args.log_level.clone());
    if let Some(format) = &args.log_format {
        config.log.format = keyword("log.format", format)?;
    }
    Ok(())
}

fn overlay_serve(config: &mut Config, args: &ServeArgs) -> Result<(), ConfigError> {
    overlay_list(&mut config.dns_listen, &args.dns_listen);
    overlay_optional(&mut config.http_listen, args.http_listen);
    overlay_optional(&mut config.components, args.components.clone());
    overlay_endpoints(&mut config.endpointslices, &args.endpoints)?;
    overlay_dns(&mut config.dns, &args.dns)
}

fn overlay_endpoints(config: &mut EndpointsConfig, args: &EndpointArgs) -> Result<(), ConfigError> {
    set(&mut config.max_endpoints_per_slice, args.max_endpoints_per_slice);
    set(&mut config.concurrent_service_endpoint_syncs, args.concurrent_service_endpoint_syncs);
    set(&mut config.endpointslice_updates_batch_period, args.endpointslice_updates_batch_period);
    set(
        &mut config.mirroring_concurrent_service_endpoint_syncs,
        args.mirroring_concurrent_service_endpoint_syncs,
    );
    set(&mut config.mirroring_max_endpoints_per_subset, args.mirroring_max_endpoints_per_subset);
    set(
        &mut config.mirroring_endpointslice_updates_batch_period,
        args.mirroring_endpointslice_updates_batch_period,
    );
    set(&mut config.concurrent_endpoint_syncs, args.concurrent_endpoint_syncs);
    set(&mut config.endpoint_updates_batch_period, args.endpoint_updates_batch_period);
    overlay_optional(&mut config.legacy_endpoints, args.legacy_endpoints);
    set(&mut config.mirror_endpoints, args.mirror_endpoints);
    if let Some(mode) = &args.unmanaged_service_cleanup {
        config.unmanaged_service_cleanup = keyword("endpointslices.unmanagedServiceCleanup", mode)?;
    }
    if let Some(mode) = &args.slice_compaction {
        config.slice_compaction = keyword("endpointslices.sliceCompaction", mode)?;
    }
    Ok(())
}

fn overlay_dns(dns: &mut DnsConfig, args: &DnsArgs) -> Result<(), ConfigError> {
    overlay_list(&mut dns.zones, &args.zones);
    overlay_list(&mut dns.namespaces, &args.namespaces);
    if let Some(mode) = &args.pods {
        dns.pods = keyword("dns.pods", mode)?;
    }
    if let Some(mode) = &args.endpoint_names {
        dns.endpoint_names = keyword("dns.endpointNames", mode)?;
    }
    if let Some(mode) = &args.ptr {
        dns.ptr = keyword("dns.ptr", mode)?;
    }
    set(&mut dns.namespaced_watches, args.namespaced_watches);
    set(&mut dns.coredns_metrics, args.coredns_metrics);
    set(&mut dns.hide_empty_services, args.hide_empty_services);
    set(&mut dns.endpoints, args.endpoints);
    set(&mut dns.ttl, args.ttl);
    overlay_optional(&mut dns.negative_ttl, args.negative_ttl);
    set(&mut dns.pending_ttl, args.pending_ttl);
    if let Some(mode) = &args.shuffle {
        dns.shuffle = keyword("dns.shuffle", mode)?;
    }
    overlay_list(&mut dns.name_server_addresses, &args.name_server_addresses);
    set(&mut dns.max_udp_payload, args.max_udp_payload);
    overlay_optional(&mut dns.lameduck, args.lameduck);
    overlay_optional(&mut dns.namespace_selector, args.namespace_selector.clone());
    overlay_optional(&mut dns.selector, args.selector.clone());
    set(&mut dns.pending_from_statefulsets, args.pending_from_statefulsets);
    set(&mut dns.zonal, args.zonal);
    overlay_list(&mut dns.upstream, &args.upstream);
    overlay_list(&mut dns.fallthrough, &args.fallthrough);
    overlay_list(&mut dns.hosts, &args.hosts);
    overlay_list(&mut dns.transfer.to, &args.transfer_to);
    set(&mut dns.transfer.notify, args.transfer_notify);
    set(&mut dns.sync.startup_timeout, args.startup_timeout);
    set(&mut dns.sync.stale_after, args.stale_after);
    overlay_optional(&mut dns.sync.max_stale, args.max_stale);
    set(&mut dns.sync.resync, args.resync);
    overlay_optional(&mut dns.udp_threads, args.udp_threads);
    set(&mut dns.tcp.idle_timeout, args.tcp_idle_timeout);
    set(&mut dns.tcp.read_timeout, args.tcp_read_timeout);
    overlay_optional(&mut dns.tcp.max_connections, args.tcp_max_connections);
    set(&mut dns.tcp.max_connections_per_address, args.tcp_max_connections_per_address);
    set(&mut dns.tcp.max_in_flight, args.tcp_max_in_flight);
    set(&mut dns.rate_limit.enabled, args.rate_limit);
    set(&mut dns.rate_limit.responses_per_second, args.rate_limit_responses_per_second);
    set(&mut dns.rate_limit.slip, args.rate_limit_slip);
    overlay_list(&mut dns.rate_limit.exempt, &args.rate_limit_exempt);
    set(&mut dns.cookies.enabled, args.cookies);
    overlay_optional(&mut dns.cookies.secret_file, args.cookie_secret_file.clone());
    Ok(())
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn overlay_optional<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

fn overlay_list<T: Clone>(slot: &mut Vec<T>, values: &[T]) {
    if !values.is_empty() {
        *slot = values.to_vec();
    }
}

/// One of an enum's names, as a flag or variable gives it.
fn keyword<T: serde::de::DeserializeOwned>(key: &str, word: &str) -> Result<T, ConfigError> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|error| ConfigError::Invalid { key: key.to_owned(), reason: error.to_string() })
}
