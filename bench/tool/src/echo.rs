//! The limit: a server that receives and sends in batches and does nothing in between but set the QR bit.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Context as _;
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};

use crate::batch::{BATCH, Receiver, Sender};

/// As much as ordinal asks for.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Answers until it is killed; prints `ready` first.
///
/// # Errors
/// The address cannot be bound.
pub fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    println!("ready dns={}", socket.local_addr()?);
    let (mut receiver, mut sender) = (Receiver::new(), Sender::new());
    loop {
        let Ok(count) = receiver.receive(&socket, MsgFlags::MSG_WAITFORONE) else { continue };
        let mut to = [None; BATCH];
        let mut packets: [&[u8]; BATCH] = [&[]; BATCH];
        for (at, (datagram, from)) in receiver.datagrams().enumerate() {
            if let Some(flags) = datagram.get_mut(2) {
                *flags |= 0x80;
            }
            (packets[at], to[at]) = (datagram, from);
        }
        let mut done = 0;
        while done < count {
            // A reply that cannot be sent is the client's loss alone.
            done += sender.send(&socket, &packets[done..count], &to[done..]).unwrap_or(1).max(1);
        }
    }
}
