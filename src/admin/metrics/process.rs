//! The process itself, under the names that every Prometheus exporter has for it.

use std::sync::atomic::AtomicU64;

use procfs::WithCurrentSystemInfo as _;
use procfs::process::{LimitValue, Process};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::{Labels, gauges};

/// Nothing of what the system does not tell.
pub(super) fn register(registry: &mut Registry) {
    let Ok(own) = Process::myself() else {
        return;
    };
    let mut tell = |name, help, value: Option<f64>| {
        if let Some(value) = value {
            gauges(registry, name, help, vec![(Labels::new(), value)]);
        }
    };
    let stat = own.stat().ok();
    let memory = stat.as_ref().map(|stat| stat.rss_bytes().get() as f64);
    tell("process_resident_memory_bytes", "Resident memory", memory);
    let virtual_memory = stat.as_ref().map(|stat| stat.vsize as f64);
    tell(
        "process_virtual_memory_bytes",
        "Virtual memory",
        virtual_memory,
    );
    let threads = stat.as_ref().map(|stat| stat.num_threads as f64);
    tell("process_threads", "Threads", threads);
    let ticks = stat.as_ref().map(|stat| (stat.utime + stat.stime) as f64);
    if let Some(ticks) = ticks {
        // Prometheus's own name is process_cpu_seconds_total: the encoder puts the end to it.
        let cpu = Counter::<f64, AtomicU64>::default();
        cpu.inc_by(ticks / procfs::ticks_per_second() as f64);
        registry.register("process_cpu_seconds", "CPU time since the start", cpu);
    }
    let mut tell = |name, help, value: Option<f64>| {
        if let Some(value) = value {
            gauges(registry, name, help, vec![(Labels::new(), value)]);
        }
    };
    let open = own.fd_count().ok().map(|count| count as f64);
    tell("process_open_fds", "Open descriptors", open);
    let limits = own.limits().ok();
    let most = limits.and_then(|limits| match limits.max_open_files.soft_limit {
        LimitValue::Value(most) => Some(most as f64),
        LimitValue::Unlimited => None,
    });
    tell("process_max_fds", "As many as there may be", most);
}
