//! monoio, on its io_uring where the kernel has it.
//!
//! Knows nothing of what is measured.

use std::net::SocketAddr;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};

use super::Served;

pub(crate) fn serve(address: SocketAddr) -> Served {
    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
        .with_entries(4096)
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(super::listen(address)?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            monoio::spawn(echo(stream));
        }
    })
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if !read.is_ok_and(|len| len > 0) {
            return;
        }
        let (written, mut sent) = stream.write_all(filled).await;
        if written.is_err() {
            return;
        }
        sent.clear();
        buffer = sent;
    }
}
