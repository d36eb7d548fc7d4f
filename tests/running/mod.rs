//! The examples as programs: where they lie, how they are started, what they announce, and how they
//! end.
//!
//! Knows nothing of the library, nor of what they serve. `cargo test` builds the examples; `cargo
//! test --test NAME` alone does not.

#![allow(dead_code, reason = "each test uses its own part of this")]

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

/// How long an answer may take: a bound for what is broken, never a wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where an example lies.
#[track_caller]
pub(crate) fn path(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows where it lies");
    // target/PROFILE/deps/TEST, and target/PROFILE/examples/NAME.
    let profile = test.ancestors().nth(2).expect("the folder of the profile");
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --examples",
        path.display()
    );
    path
}

#[track_caller]
pub(crate) fn command<A: AsRef<OsStr>>(name: &str, args: &[A]) -> Command {
    let mut command = Command::new(path(name));
    command
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs an example that is expected to end by itself.
#[track_caller]
pub(crate) fn check_exit(name: &str, args: &[&str], status: i32) -> Output {
    let output = command(name, args).output().expect("the example starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{name} {args:?}: {stderr}"
    );
    output
}

/// An example that runs, until this is dropped.
pub(crate) struct Running {
    name: &'static str,
    pub(crate) child: Child,
    stdout: BufReader<ChildStdout>,
    /// As announced, with its scheme.
    pub(crate) addresses: Vec<String>,
}

impl Running {
    #[track_caller]
    pub(crate) fn start(name: &'static str, args: &[&str]) -> Running {
        Running::spawn(name, command(name, args), 1)
    }

    /// Waits until the example has announced `sockets` addresses.
    #[track_caller]
    pub(crate) fn spawn(name: &'static str, mut command: Command, sockets: usize) -> Running {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let stdout = child.stdout.take().expect("it is piped");
        let mut running = Running {
            name,
            child,
            stdout: BufReader::new(stdout),
            addresses: Vec::new(),
        };
        for _ in 0..sockets {
            let mut line = String::new();
            running.wait_for_output();
            running
                .stdout
                .read_line(&mut line)
                .expect("standard output");
            let address = line
                .strip_prefix("listening on ")
                .and_then(|line| line.strip_suffix('\n'));
            let address = address.unwrap_or_else(|| panic!("{name} said {line:?}"));
            running.addresses.push(address.to_owned());
        }
        running
    }

    /// The address of the first socket, without its scheme.
    #[track_caller]
    pub(crate) fn address(&self) -> &str {
        tcp(&self.addresses[0])
    }

    /// Waits for a word of the example, or its end.
    #[track_caller]
    fn wait_for_output(&self) {
        if self.stdout.buffer().is_empty() {
            let mut fds = [PollFd::new(self.stdout.get_ref(), PollFlags::IN)];
            let timeout = Timespec::try_from(PATIENCE).expect("a short time");
            let ready = poll(&mut fds, Some(&timeout)).expect("poll");
            assert_eq!(ready, 1, "{} neither says anything nor ends", self.name);
        }
    }

    /// Reads what it says, up to a line that is the one.
    #[track_caller]
    pub(crate) fn line_until(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            self.wait_for_output();
            let mut line = String::new();
            let len = self.stdout.read_line(&mut line).expect("standard output");
            assert_ne!(len, 0, "{} has ended", self.name);
            if is_it(line.trim_end()) {
                return line.trim_end().to_owned();
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let pid = Pid::from_raw(pid).expect("it is not 0");
        kill_process(pid, signal).expect("it runs");
    }

    /// The example ends by itself, with status 0 and without a further word.
    #[track_caller]
    pub(crate) fn ends(mut self) {
        let mut rest = String::new();
        self.wait_for_output();
        self.stdout
            .read_to_string(&mut rest)
            .expect("standard output");
        assert_eq!(rest, "", "{}", self.name);
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", self.name);
    }

    #[track_caller]
    pub(crate) fn terminate(self) {
        self.signal(Signal::TERM);
        self.ends();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, as it should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
pub(crate) fn tcp(address: &str) -> &str {
    address
        .strip_prefix("tcp://")
        .or(address.strip_prefix("http://"))
        .unwrap_or_else(|| panic!("{address} is not of TCP"))
}
