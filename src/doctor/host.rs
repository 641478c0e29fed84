//! This machine: ports, addresses, limits, the database.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use super::report::Report;
use crate::config::Config;
use crate::config::sip::Transport;

/// What media sockets towards browsers ask for, in bytes.
const BUFFER: u64 = 4 << 20;
/// Descriptors beside those of calls: listeners, the database, connections to the homeserver and of PBXes.
const BESIDE: u64 = 200;

pub(super) fn check(config: &Config, is_running: bool, report: &mut Report) {
    database(&config.store.path, report);
    if !is_running {
        ports(config, report);
    }
    addresses(config, report);
    buffers(report);
    descriptors(config, report);
}

fn database(path: &Path, report: &mut Report) {
    let what = "database";
    let shown = path.display();
    let mend =
        "give the user that the gateway runs as the right to write there, or set [store] path";
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // SQLite makes its log beside it.
    let beside = folder.join(format!(".mxtrunk-doctor-{}", std::process::id()));
    let tried = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside);
    let _ = std::fs::remove_file(&beside);
    if let Err(error) = tried {
        return report.fail(
            what,
            format!("{} cannot be written to ({error})", folder.display()),
            mend,
        );
    }
    match std::fs::OpenOptions::new().append(true).open(path) {
        Ok(_) => report.ok(what, format!("{shown} can be written")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report.ok(what, format!("{shown} is made at the first start"));
        }
        Err(error) => report.fail(what, format!("{shown} cannot be written ({error})"), mend),
    }
}

/// Those that the gateway would take.
fn ports(config: &Config, report: &mut Report) {
    let what = "ports";
    let mut taken = Vec::new();
    let mut count = 0;
    let mut look = |address: SocketAddr, is_udp: bool| {
        count += 1;
        let bound = match is_udp {
            true => UdpSocket::bind(address).map(drop),
            false => TcpListener::bind(address).map(drop),
        };
        if let Err(error) = bound {
            let word = if is_udp { "udp" } else { "tcp" };
            taken.push(format!("{word}:{address} ({error})"));
        }
    };
    for listen in &config.sip.listen {
        look(listen.address, listen.transport == Transport::Udp);
    }
    let media = &config.media;
    for ip in &media.browser_bind {
        for worker in 0..media.worker_count() {
            let Some(port) = u16::try_from(worker)
                .ok()
                .and_then(|n| media.browser_port.checked_add(n))
            else {
                continue;
            };
            look(SocketAddr::new(*ip, port), true);
        }
    }
    look(SocketAddr::new(media.phone_bind, media.phone_ports.0), true);
    match taken.as_slice() {
        [] => report.ok(what, format!("the {count} that were tried are free")),
        taken => report.fail(
            what,
            format!("cannot be had: {}", taken.join(", ")),
            "see what else listens there (ss -lunpt), or set other addresses and ports in [sip] and [media]",
        ),
    }
}

/// What browsers and telephones are told to send to.
fn addresses(config: &Config, report: &mut Report) {
    let media = &config.media;
    let what = "the address that browsers are told";
    let told = match media.browser_advertise.as_slice() {
        [] => &media.browser_bind,
        told => told,
    };
    let shown: Vec<_> = told.iter().map(IpAddr::to_string).collect();
    let shown = shown.join(", ");
    let mend = "set [media] browser_bind to an address of this machine that browsers reach, and browser_advertise to the \
                public one where NAT stands between";
    match told.iter().map(|ip| Reach::of(*ip)).max() {
        Some(Reach::Public) => report.unknown(
            what,
            &format!("{shown} is public; whether it is reached from outside cannot be told from inside"),
            &format!(
                "let UDP through the firewall to ports from {} on, and make a call from a browser outside",
                media.browser_port
            ),
        ),
        Some(Reach::Private) => {
            report.warn(what, format!("{shown} is reached from your own network alone"), mend);
        }
        Some(Reach::Here) | None => {
            report.warn(what, format!("{shown} is reached from this machine alone"), mend);
        }
    }
    let what = "the address that telephones are told";
    let told = media.phone_advertise.unwrap_or(media.phone_bind);
    let outside = config.trunks.iter().flat_map(|trunk| trunk.targets().0);
    let outside = outside
        .map(|target| target.address.ip())
        .find(|ip| Reach::of(*ip) > Reach::of(told));
    match outside {
        None => report.ok(what, told.to_string()),
        Some(pbx) => report.fail(
            what,
            format!("{told} is not reached from the PBX at {pbx}: it would hear nothing"),
            "set [media] phone_bind to an address that the PBX reaches, or phone_advertise where NAT stands between",
        ),
    }
}

/// From where an address is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Here,
    Private,
    Public,
}

impl Reach {
    fn of(ip: IpAddr) -> Self {
        let is_private = match ip {
            // RFC 1918, RFC 3927, RFC 6598.
            IpAddr::V4(ip) => {
                let [first, second, ..] = ip.octets();
                ip.is_private()
                    || ip.is_link_local()
                    || (first == 100 && (64..128).contains(&second))
            }
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        match (ip.is_loopback(), is_private) {
            (true, _) => Reach::Here,
            (false, true) => Reach::Private,
            (false, false) => Reach::Public,
        }
    }
}

fn buffers(report: &mut Report) {
    let what = "UDP buffers";
    let read = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?;
        text.trim().parse().ok()
    };
    match (read("rmem_max"), read("wmem_max")) {
        (Some(rmem), Some(wmem)) if rmem.min(wmem) >= BUFFER => report.ok(what, "are as large as they should be"),
        (Some(rmem), Some(wmem)) => report.warn(
            what,
            format!("at most {rmem} bytes to receive and {wmem} to send: with very many calls packets get lost here"),
            format!("sysctl -w net.core.rmem_max={BUFFER} net.core.wmem_max={BUFFER}, and the same in /etc/sysctl.d"),
        ),
        _ => report.unknown(what, "this system does not say how large they may be", "look at net.core.rmem_max on the host"),
    }
}

/// Each call has two sockets towards its telephone.
fn descriptors(config: &Config, report: &mut Report) {
    let what = "open files";
    let calls = u64::try_from(config.media.max_calls.max(config.sip.max_calls)).unwrap_or(u64::MAX);
    let needed = calls.saturating_mul(2).saturating_add(BESIDE);
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(may) if may < needed => report.warn(
            what,
            format!("{may} may be open at once here, and {calls} calls need {needed}"),
            format!("LimitNOFILE={needed} in the service's unit, or ulimit -n {needed}; or lower max_calls"),
        ),
        _ => report.ok(what, "as many as the calls that are allowed need"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_by_who_reaches_them() {
        for (ip, reach) in [
            ("127.0.0.1", Reach::Here),
            ("::1", Reach::Here),
            ("10.1.2.3", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("fd00::1", Reach::Private),
            ("100.128.0.1", Reach::Public),
            ("192.0.2.1", Reach::Public),
            ("2001:db8::1", Reach::Public),
        ] {
            assert_eq!(Reach::of(ip.parse().expect("an address")), reach, "{ip}");
        }
    }
}
