//! Both families of addresses, and two reactors on one port.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod common;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;

use common::{End, Script, Seen, Server, TOO_LONG, connect, next_close, next_open, read_to_end};
use windlass::net::{Address, Listen};
use windlass::{CloseReason, Echo, Lines, Raw, Reactor};

/// Whether this machine has IPv6 at all.
fn has_v6() -> bool {
    let has_it = TcpListener::bind("[::1]:0").is_ok();
    if !has_it {
        println!("skipped: no IPv6 here");
    }
    has_it
}

fn assert_echoes(address: SocketAddr) {
    let mut client = connect(address);
    client.write_all(b"one\ntwo\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), (b"one\ntwo\n".to_vec(), End::Fin));
}

fn serve(listen: Listen) -> Server {
    Server::start(move |reactor| {
        reactor
            .listen(listen, |_| Echo::<Lines>::default())
            .unwrap()
    })
}

#[test]
fn a_listener_on_a_v6_address_serves_v6_peers_and_knows_them() {
    if !has_v6() {
        return;
    }
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen("[::1]:0", move |peer| {
                assert!(peer.address.as_ip().unwrap().ip().is_loopback());
                assert!(peer.address.as_ip().unwrap().is_ipv6());
                Script::<Raw>::new().seen(&tell)
            })
            .unwrap()
    });
    assert!(server.address.is_ipv6());
    let client = connect(server.address);
    let token = next_open(&seen);
    drop(client);
    assert_eq!(next_close(&seen), (token, CloseReason::PeerFinished));
}

#[test]
fn a_dual_stack_listener_serves_both_families() {
    if !has_v6() {
        return;
    }
    let server = serve(Listen::on("[::]:0").unwrap().only_v6(false));
    let port = server.address.port();
    assert_echoes(SocketAddr::from(([127, 0, 0, 1], port)));
    assert_echoes(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)));
}

#[test]
fn a_listener_for_v6_only_leaves_the_v4_port_to_others() {
    if !has_v6() {
        return;
    }
    let server = serve(Listen::on("[::]:0").unwrap().only_v6(true));
    let port = server.address.port();
    assert_echoes(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)));
    TcpListener::bind(("0.0.0.0", port)).expect("the port is free for the other family");
}

#[test]
fn a_reactor_connects_to_v6_addresses() {
    if !has_v6() {
        return;
    }
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let address: Address = listener.local_addr().unwrap().into();
    let (tell, seen) = channel::<Seen>();
    let server = Server::start(move |reactor| {
        let script = Script::<Raw>::new().seen(&tell);
        reactor.connect(address, script).unwrap();
        reactor
            .listen("[::1]:0", |_| Echo::<Raw>::default())
            .unwrap()
    });
    let (mut accepted, _) = listener.accept().unwrap();
    let token = next_open(&seen);
    accepted.set_read_timeout(Some(TOO_LONG)).unwrap();
    accepted.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut accepted), (Vec::new(), End::Fin));
    assert_eq!(next_close(&seen), (token, CloseReason::PeerFinished));
    server.stop();
}

#[test]
fn two_reactors_that_share_a_port_serve_all_between_them() {
    const CLIENTS: usize = 200;
    let listen = || Listen::on("127.0.0.1:0").unwrap().reuse_port(true);
    let mut first = Reactor::new().unwrap();
    let one = first
        .listen(listen(), |_| Echo::<Lines>::default())
        .unwrap();
    let address = first.local_addr(one).unwrap();
    let mut second = Reactor::new().unwrap();
    let other = Listen::new(address.clone()).reuse_port(true);
    let two = second.listen(other, |_| Echo::<Lines>::default()).unwrap();

    let address = address.as_ip().unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    // Whom the kernel gives a connection to is its own choice; that nobody loses one is ours.
    let accepted = |reactor: &Reactor, token| reactor.service_stats(token).unwrap().accepted;
    while accepted(&first, one) + accepted(&second, two) < CLIENTS as u64 {
        for reactor in [&mut first, &mut second] {
            reactor.turn(Some(std::time::Duration::ZERO)).unwrap();
        }
    }
    assert!(accepted(&first, one) > 0);
    assert!(accepted(&second, two) > 0);
    drop(clients);
}
