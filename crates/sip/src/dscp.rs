//! How messages are marked for the network's queues.

use std::io;
use std::net::IpAddr;

use socket2::SockRef;
use tracing::debug;

/// Marks what a socket sends with a DSCP (RFC 2474), 0 to 63. A system that
/// does not allow it costs the mark, not the call.
pub(crate) fn mark<'s>(socket: impl Into<SockRef<'s>>, family: IpAddr, dscp: u8) {
    if let Err(error) = try_mark(&socket.into(), family, dscp) {
        debug!(dscp, %error, "a SIP socket cannot be marked");
    }
}

fn try_mark(socket: &SockRef<'_>, family: IpAddr, dscp: u8) -> io::Result<()> {
    // The two low bits of the octet are for congestion notification.
    let octet = u32::from(dscp) << 2;
    match family {
        IpAddr::V4(_) => socket.set_tos_v4(octet),
        IpAddr::V6(_) => socket.set_tclass_v6(octet),
    }
}
