//! The servers that Debian packages: their configuration for one worker, and how they are started.
//!
//! Knows nothing of what is measured.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BODY, Peer};

/// What it is called, if it is one of these.
pub(crate) fn program(peer: Peer) -> Option<&'static str> {
    match peer {
        Peer::Nginx => Some("nginx"),
        Peer::H2o => Some("h2o"),
        Peer::Haproxy => Some("haproxy"),
        Peer::Lighttpd => Some("lighttpd"),
        _ => None,
    }
}

pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut files = folders.map(|folder| folder.join(program));
    files.find(|file| file.is_file())
}

/// `work` has the files that are served, below `files/`, and gets the configuration.
pub(crate) fn command(
    peer: Peer,
    address: SocketAddr,
    work: &Path,
) -> Result<Command, Box<dyn Error>> {
    let program = program(peer).ok_or("it is not of Debian")?;
    let config = work.join(format!("{program}.conf"));
    let (files, port) = (work.join("files"), address.port());
    let (files, place) = (files.display(), work.display());
    let (text, options): (String, &[&str]) = match peer {
        Peer::Nginx => (
            format!(
                "daemon off;\nworker_processes 1;\npid {place}/nginx.pid;\nerror_log stderr crit;\n\
                 worker_rlimit_nofile 20000;\nevents {{ worker_connections 18000; }}\nhttp {{\n\
                 access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
                 open_file_cache max=100; default_type text/plain;\n\
                 server {{ listen {address} backlog=4096; root {files};\n\
                 location = / {{ return 200 \"{BODY}\"; }} }} }}\n"
            ),
            &["-c"],
        ),
        Peer::Haproxy => (
            format!(
                "global\n maxconn {HAPROXY_CONNECTIONS}\n nbthread 1\ndefaults\n mode http\n timeout client 60s\n \
                 timeout http-request 60s\n timeout connect 5s\n timeout server 60s\n\
                 frontend plain\n bind {address} backlog 4096\n http-request return status 200 \
                 content-type text/plain string \"{BODY}\"\n"
            ),
            &["-f"],
        ),
        Peer::H2o => {
            fs::write(work.join("files/index.html"), BODY)?;
            (
                format!(
                    "listen:\n  host: {host}\n  port: {port}\nnum-threads: 1\n\
                     max-connections: 18000\nhosts:\n  default:\n    paths:\n      /:\n        \
                     file.dir: {files}\n",
                    host = address.ip()
                ),
                &["-c"],
            )
        }
        _ => (
            format!(
                "server.document-root = \"{files}\"\nserver.port = {port}\n\
                 server.bind = \"{host}\"\nserver.max-keep-alive-requests = 1000000000\n\
                 server.max-fds = 20000\nserver.max-connections = 18000\n",
                host = address.ip()
            ),
            &["-D", "-f"],
        ),
    };
    fs::write(&config, text)?;
    let mut command = Command::new(find(program).ok_or("it is not installed")?);
    command.args(options).arg(&config);
    if peer == Peer::Nginx {
        command.arg("-p").arg(work);
    }
    Ok(command)
}

/// Each takes two descriptors of 20,000, and it keeps some for itself.
pub(crate) const HAPROXY_CONNECTIONS: usize = 9_900;
