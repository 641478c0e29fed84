//! How datagrams are marked for the network's queues.

use std::io;
use std::net::IpAddr;

use socket2::SockRef;

/// Marks what a socket sends with a DSCP (RFC 2474), 0 to 63; expedited forwarding is 46 (RFC 3246). A system that
/// does not allow it costs the mark, not the call.
pub(crate) fn mark<'s>(socket: impl Into<SockRef<'s>>, local: IpAddr, dscp: u8) {
    if let Err(error) = try_mark(&socket.into(), local, dscp) {
        tracing::debug!(dscp, %error, "a media socket cannot be marked");
    }
}

fn try_mark(socket: &SockRef<'_>, local: IpAddr, dscp: u8) -> io::Result<()> {
    // The two low bits of the octet are for congestion notification.
    let octet = u32::from(dscp) << 2;
    match local {
        IpAddr::V4(_) => socket.set_tos_v4(octet),
        IpAddr::V6(_) => socket.set_tclass_v6(octet),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

    use super::*;

    #[test]
    fn a_mark_stands_in_the_upper_six_bits_of_both_families() {
        let four = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        mark(&four, Ipv4Addr::LOCALHOST.into(), 46);
        assert_eq!(SockRef::from(&four).tos_v4().unwrap(), 0xb8);
        // Where there is IPv6 at all.
        if let Ok(six) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
            mark(&six, Ipv6Addr::LOCALHOST.into(), 46);
            assert_eq!(SockRef::from(&six).tclass_v6().unwrap(), 0xb8);
        }
    }
}
