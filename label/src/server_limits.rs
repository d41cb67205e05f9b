//! Limits of connections, and eviction when all are taken.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Limits of connections; the defaults suit browsers and stop clients that only hold connections open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Maximum number of simultaneous connections. When all are taken, the oldest one without the token is closed.
    pub connections: usize,
    /// Maximum number of simultaneous connections of one address of another machine.
    pub connections_per_address: usize,
    /// Maximum number of requests of one connection; the last answer closes it.
    pub requests: usize,
    /// Maximum time to send the head of a request, and maximum silence between two.
    pub idle: Duration,
    /// Maximum time in which a client reads none of the waiting bytes.
    pub stall: Duration,
    /// Maximum lifetime of a connection; an answer in progress gets `stall` more.
    pub lifetime: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_address: 32,
            requests: 1000,
            idle: Duration::from_secs(30),
            stall: Duration::from_secs(10),
            lifetime: Duration::from_secs(120),
        }
    }
}

/// The peer of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address; for IPv6 the /64 network, since one machine owns all of it.
    pub(crate) address: IpAddr,
    has_passed: Arc<AtomicBool>,
}

impl Peer {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self { address: network(address), has_passed: Arc::default() }
    }

    /// Marks the peer as authenticated.
    pub(crate) fn pass(&self) {
        self.has_passed.store(true, Ordering::Relaxed);
    }

    fn has_passed(&self) -> bool {
        self.has_passed.load(Ordering::Relaxed)
    }
}

/// The /64 network of an IPv6 address; an IPv4 address unchanged.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

/// The open connections, oldest first, each with the handle that closes it.
#[derive(Debug)]
pub(crate) struct Places<H> {
    limits: ServerLimits,
    taken: Vec<(H, Peer)>,
}

/// The result of looking for a place for a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room<H> {
    /// A place is free.
    Free,
    /// A place is free once this connection, already removed, is closed.
    InPlaceOf(H),
    /// All places belong to authenticated connections.
    Full,
}

impl<H> Places<H> {
    pub(crate) fn new(limits: ServerLimits) -> Self {
        Self { limits, taken: Vec::new() }
    }

    /// Finds a place, evicting the oldest connection without the token if there is no free one.
    ///
    /// If an address has its maximum, only one of its own connections is evicted.
    pub(crate) fn make_room(&mut self, peer: &Peer) -> Room<H> {
        let own = self.taken.iter().filter(|(_, other)| other.address == peer.address).count();
        // Everything that comes through a tunnel comes from this machine.
        let is_crowded = !peer.address.is_loopback() && own >= self.limits.connections_per_address;
        if !is_crowded && self.taken.len() < self.limits.connections {
            return Room::Free;
        }
        let gives_way = |other: &Peer| !other.has_passed() && (!is_crowded || other.address == peer.address);
        match self.taken.iter().position(|(_, other)| gives_way(other)) {
            Some(at) => Room::InPlaceOf(self.taken.remove(at).0),
            None => Room::Full,
        }
    }

    pub(crate) fn take(&mut self, handle: H, peer: Peer) {
        self.taken.push((handle, peer));
    }

    /// Frees the places of closed connections.
    pub(crate) fn free(&mut self, has_ended: impl Fn(&H) -> bool) {
        self.taken.retain(|(handle, _)| !has_ended(handle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Peer {
        Peer::new(address.parse().unwrap())
    }

    /// Four places, two for each address; `taken` are numbered from 0.
    fn places(taken: &[&Peer]) -> Places<usize> {
        let limits = ServerLimits { connections: 4, connections_per_address: 2, ..ServerLimits::default() };
        let mut places = Places::new(limits);
        for (number, peer) in taken.iter().enumerate() {
            assert_eq!(places.make_room(peer), Room::Free);
            places.take(number, (*peer).clone());
        }
        places
    }

    #[test]
    fn the_oldest_that_never_passed_gives_way() {
        let peers = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(from);
        let mut places = places(&peers.each_ref());
        peers[0].pass();
        assert_eq!(places.make_room(&from("10.0.0.5")), Room::InPlaceOf(1));
        places.take(4, from("10.0.0.5"));
        places.free(|number| *number == 3);
        assert_eq!(places.make_room(&from("10.0.0.6")), Room::Free);
        places.take(5, from("10.0.0.6"));
        assert_eq!(places.make_room(&from("10.0.0.7")), Room::InPlaceOf(2));
    }

    #[test]
    fn whoever_passed_stays_though_all_places_are_taken() {
        let peers = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(from);
        let mut places = places(&peers.each_ref());
        peers.iter().for_each(Peer::pass);
        assert_eq!(places.make_room(&from("10.0.0.5")), Room::Full);
    }

    #[test]
    fn an_address_with_all_its_places_takes_none_of_another() {
        let first = from("10.0.0.9");
        let crowd = ["10.0.0.1", "10.0.0.1"].map(from);
        let mut places = places(&[&first, &crowd[0], &crowd[1]]);
        assert_eq!(places.make_room(&from("10.0.0.1")), Room::InPlaceOf(1));
        places.take(3, from("10.0.0.1"));
        crowd[1].pass();
        assert_eq!(places.make_room(&from("10.0.0.1")), Room::InPlaceOf(3));
        assert_eq!(places.make_room(&from("10.0.0.2")), Room::Free);
    }

    #[test]
    fn this_machine_has_no_bound_of_its_own() {
        let here = from("127.0.0.1");
        assert_eq!(places(&[&here, &here, &here]).make_room(&here), Room::Free);
    }

    #[test]
    fn a_network_of_addresses_counts_as_one() {
        for (one, other, is_same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            assert_eq!(from(one).address == from(other).address, is_same, "{one} {other}");
        }
        assert!(from("::1").address.is_loopback());
    }
}
