//! The processes of a measurement: the core each runs on, and what `/proc` says of them.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::machine::{self, Core, number, pin};
use super::peers::{ECHO, Peer, Service};

/// Where the server runs, and where the load does.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    server: Core,
    load: Core,
}

impl Cores {
    /// The first two that this process may use; from now on it runs on the second.
    pub(crate) fn take() -> Result<Cores, Box<dyn Error>> {
        let Some([server, load]) = machine::two_cores()? else {
            return Err("there is one core only, and the load needs its own".into());
        };
        pin(load)?;
        machine::raise_descriptors()?;
        Ok(Cores { server, load })
    }

    /// How long the server's core and the load's had nothing to run, by the clock's ticks.
    pub(crate) fn idle_ns(self) -> io::Result<[f64; 2]> {
        let stat = fs::read_to_string("/proc/stat")?;
        let idle = |core: Core| -> io::Result<f64> {
            let name = format!("cpu{core}");
            let mut lines = stat.lines().map(str::split_ascii_whitespace);
            let fields = lines.find_map(|mut line| (line.next() == Some(&name)).then_some(line));
            // Behind user, nice and system: without work, and without work but for a disk's.
            let mut fields = fields.into_iter().flatten().skip(3);
            let mut ticks = || number::<f64>(fields.next(), "stat");
            Ok((ticks()? + ticks()?) * tick_ns())
        };
        Ok([idle(self.server)?, idle(self.load)?])
    }

    /// Runs a program on the load's core to its end. Answers what it wrote, and nanoseconds of CPU
    /// time.
    pub(crate) fn run_load(self, command: &mut Command) -> Result<(String, f64), Box<dyn Error>> {
        // It inherits our core, and waiting for it takes no time there.
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let mut text = String::new();
        if let Some(mut out) = child.stdout.take() {
            out.read_to_string(&mut text)?;
        }
        let id = i32::try_from(child.id())?;
        let pid = Pid::from_raw(id).ok_or("it has no id")?;
        // Of all its threads, those that have ended too: who has ended and was not waited for yet
        // still tells.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(pid), ended)?;
        let [user_ns, system_ns] = used_by_ticks(child.id())?;
        match child.wait()? {
            status if status.success() => Ok((text, user_ns + system_ns)),
            status => Err(format!("{:?}: {status}: {text}", command.get_program()).into()),
        }
    }
}

fn tick_ns() -> f64 {
    1e9 / rustix::param::clock_ticks_per_second() as f64
}

/// Nanoseconds that a process has run, its own code and the system's: coarse, but of all threads.
fn used_by_ticks(pid: u32) -> io::Result<[f64; 2]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may contain anything; the state behind it is the third field.
    let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || number::<f64>(fields.next(), "stat");
    Ok([ticks()? * tick_ns(), ticks()? * tick_ns()])
}

/// What a process and all that it has started have used.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    pub(crate) cpu_ns: f64,
    /// As the clock's ticks have it, which is coarse.
    pub(crate) user_ns: f64,
    pub(crate) system_ns: f64,
}

/// A server that listens. It ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(
        cores: Cores,
        peer: Peer,
        service: Service,
        timers: usize,
        work: &Path,
    ) -> Result<Server, Box<dyn Error>> {
        let address = free_address()?;
        let command = peer.command(service, address, work)?;
        Server::run(cores, command, service, timers, address, work)
    }

    /// Below strace, which writes its counts to `counts` when the server ends.
    pub(crate) fn start_traced(
        cores: Cores,
        peer: Peer,
        service: Service,
        work: &Path,
        counts: &Path,
    ) -> Result<Server, Box<dyn Error>> {
        let address = free_address()?;
        let inner = peer.command(service, address, work)?;
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(counts);
        command.arg(inner.get_program()).args(inner.get_args());
        Server::run(cores, command, service, 0, address, work)
    }

    fn run(
        cores: Cores,
        mut command: Command,
        service: Service,
        timers: usize,
        address: SocketAddr,
        work: &Path,
    ) -> Result<Server, Box<dyn Error>> {
        // Some greet each time. It is read if the server does not come up.
        let said = work.join("stderr");
        // A child inherits the core that it is to run on.
        pin(cores.server)?;
        let child = command
            .env("PEERS_TIMERS", timers.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said)?)
            .spawn();
        pin(cores.load)?;
        let child = child.map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let mut server = Server { child, address };
        if let Err(error) = server.wait_until_it_serves(service) {
            let said = fs::read_to_string(said)?;
            let last = said.lines().last().unwrap_or_default();
            return Err(format!("{error}: {last}").into());
        }
        Ok(server)
    }

    fn wait_until_it_serves(&mut self, service: Service) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        let pause = Duration::from_millis(10);
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(pause))?;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server has ended: {status}").into());
            }
            let is_there = if service == Service::Udp {
                // Whoever sends to a port that is not open yet is told by the next call.
                let _ = socket.send_to(&[0; ECHO], self.address);
                socket.recv(&mut [0; 100]).is_ok()
            } else {
                TcpStream::connect(self.address).is_ok()
            };
            if is_there {
                return Ok(());
            }
            thread::sleep(pause);
        }
        Err("the server does not listen".into())
    }

    /// It, and all that it has started.
    fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = pids.get(next) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.unwrap_or_default();
            let children = children.split_ascii_whitespace().flat_map(str::parse);
            pids.extend(children.collect::<Vec<u32>>());
            next += 1;
        }
        pids
    }

    pub(crate) fn used(&self) -> io::Result<Used> {
        let mut used = Used {
            cpu_ns: 0.0,
            user_ns: 0.0,
            system_ns: 0.0,
        };
        for pid in self.pids() {
            used.cpu_ns += machine::cpu_ns(pid)? as f64;
            let [user_ns, system_ns] = used_by_ticks(pid)?;
            used.user_ns += user_ns;
            used.system_ns += system_ns;
        }
        Ok(used)
    }

    /// Bytes of memory that are its own.
    pub(crate) fn anonymous_len(&self) -> io::Result<f64> {
        self.pids().into_iter().map(machine::anonymous_len).sum()
    }

    /// Waits until it has done all that it had to do.
    pub(crate) fn wait_until_idle(&self) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = self.used()?.cpu_ns;
        while Instant::now() < deadline {
            thread::sleep(Duration::from_millis(100));
            let now = self.used()?.cpu_ns;
            // Some have a clock that ticks.
            if now - before < 500_000.0 {
                return Ok(());
            }
            before = now;
        }
        Err("the server does not come to rest".into())
    }

    /// Whether the process that serves waits in a call of its own. A process that is traced and
    /// stopped would not.
    pub(crate) fn is_asleep(&self) -> bool {
        let pids = self.pids();
        let server = pids.last().copied().unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, fields)| fields.starts_with('S'))
    }

    /// Ends a traced server, so that its tracer writes its counts.
    pub(crate) fn end_traced(mut self) -> io::Result<()> {
        for pid in self.pids().into_iter().skip(1) {
            kill(pid);
        }
        self.child.wait().map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in self.pids() {
            kill(pid);
        }
        // It may have ended by itself.
        let _ = self.child.wait();
    }
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Or it is gone already.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// A port that nobody has now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// A failure, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);
