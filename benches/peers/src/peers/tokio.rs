//! tokio: one thread, a task per connection with a buffer of its own, as its documentation has it.
//!
//! Knows nothing of what is measured.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::broadcast::{self, Sender};
use tokio::time::Instant;

use super::{SINK, Served, Service};

pub(crate) fn serve(service: Service, address: SocketAddr) -> Served {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if service == Service::Udp {
            return datagrams(address).await;
        }
        if service == Service::Timers {
            for number in 0..super::timers() as u64 {
                let after = Duration::from_millis(600_000 + (number * 7919) % 3_600_000);
                tokio::spawn(tokio::time::sleep(after));
            }
        }
        let (everybody, _) = broadcast::channel(1024);
        let listener = TcpListener::from_std(super::listen(address)?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            match service {
                Service::Chat => drop(tokio::spawn(member(stream, everybody.clone()))),
                Service::Timers => drop(tokio::spawn(watchdog(stream))),
                _ => drop(tokio::spawn(echo(stream))),
            }
        }
    })
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..len]).await?;
    }
}

/// Ends what is silent for too long.
async fn watchdog(mut stream: TcpStream) -> std::io::Result<()> {
    let patience = Duration::from_secs(100);
    let mut buffer = vec![0; 16 * 1024];
    let deadline = tokio::time::sleep(patience);
    tokio::pin!(deadline);
    loop {
        let len = tokio::select! {
            read = stream.read(&mut buffer) => read?,
            () = &mut deadline => 0,
        };
        if len == 0 {
            return Ok(());
        }
        deadline.as_mut().reset(Instant::now() + patience);
        stream.write_all(&buffer[..len]).await?;
    }
}

async fn member(stream: TcpStream, everybody: Sender<Vec<u8>>) -> std::io::Result<()> {
    let mut news = everybody.subscribe();
    let (mut from, mut to) = stream.into_split();
    let mut buffer = vec![0; 4096];
    loop {
        tokio::select! {
            read = from.read(&mut buffer) => match read? {
                0 => return Ok(()),
                len => drop(everybody.send(buffer[..len].to_vec())),
            },
            line = news.recv() => match line {
                Ok(line) => to.write_all(&line).await?,
                Err(_) => return Ok(()),
            },
        }
    }
}

async fn datagrams(address: SocketAddr) -> Served {
    let socket = UdpSocket::bind(address).await?;
    let mut buffer = vec![0; 65_536];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await?;
        if len != SINK {
            socket.send_to(&buffer[..len], from).await?;
        }
    }
}
