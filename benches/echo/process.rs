//! The processes of a measurement, and the cores they run on.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::Kind;
use super::column::Column;
use super::machine::{self, Core, number};

/// What every process of a measurement begins with.
pub(crate) fn begin() -> io::Result<()> {
    if let Ok(core) = env::var(CORE) {
        machine::pin(core.parse().map_err(io::Error::other)?)?;
        machine::end_with_parent()?;
    }
    machine::raise_descriptors()
}

/// A process, which ends with this value.
struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    fn start(core: Core, args: &[String]) -> io::Result<Process> {
        let mut child = Command::new(env::current_exe()?)
            .args(args)
            .env(CORE, core.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().expect("it is piped");
        let out = BufReader::new(out);
        Ok(Process { child, out })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that listens.
pub(crate) struct Server {
    process: Process,
    port: u16,
}

impl Server {
    pub(crate) fn start(kind: Kind, core: Core) -> io::Result<Server> {
        let args = ["serve".to_owned(), name(&kind)];
        let mut process = Process::start(core, &args)?;
        let port = number(Some(&process.line()?), "the server's port")?;
        Ok(Server { process, port })
    }

    fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub(crate) fn anonymous_len(&self) -> io::Result<f64> {
        machine::anonymous_len(self.pid())
    }

    /// Waits until it has accepted `connections` and has done all that it had to do.
    pub(crate) fn wait_until_idle(&self, connections: usize) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = None;
        while Instant::now() < deadline {
            let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count();
            let ran = machine::cpu_ns(self.pid())?;
            if descriptors > connections && before == Some(ran) {
                return Ok(());
            }
            before = Some(ran);
            thread::sleep(Duration::from_millis(50));
        }
        Err(io::Error::other("the server does not come to rest"))
    }
}

/// A load that runs.
pub(crate) struct Load {
    process: Process,
}

impl Load {
    pub(crate) fn start(
        server: &Server,
        core: Core,
        column: Column,
        time: Duration,
        idle: usize,
    ) -> io::Result<Load> {
        let idle = if column.has_idle() { idle } else { 0 };
        let args = [
            "load".to_owned(),
            name(&column),
            format!("--port={}", server.port),
            format!("--pid={}", server.pid()),
            format!("--secs={}", time.as_secs_f64()),
            format!("--idle={idle}"),
        ];
        let process = Process::start(core, &args)?;
        Ok(Load { process })
    }

    /// Waits for its end.
    pub(crate) fn ns_per_message(mut self) -> io::Result<f64> {
        let line = self.process.line()?;
        let mut words = line.split_ascii_whitespace();
        let messages: f64 = number(words.next(), "messages")?;
        let ns: f64 = number(words.next(), "nanoseconds")?;
        Ok(ns / messages)
    }

    /// Lets it go on, and waits until it says that it has.
    pub(crate) fn next_step(&mut self) -> io::Result<()> {
        let input = self.process.child.stdin.as_mut();
        input.expect("it is piped").write_all(b"\n")?;
        match self.process.line()?.as_str() {
            "done\n" => Ok(()),
            line => Err(io::Error::other(format!("the load says {line:?}"))),
        }
    }
}

fn name(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value().expect("no value is skipped");
    value.get_name().to_owned()
}

/// The core that a process is to run on.
const CORE: &str = "ECHO_BENCH_CORE";
/// A failure, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);
