//! The example `files`, run as a user would run it, and cut, killed, damaged and lied to.
//!
//! What decides is what lies under the final name: the whole file, or nothing.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod running;

/// Its parts, for what is tested without a process.
#[allow(dead_code)]
#[path = "../examples/files"]
mod example {
    pub(crate) mod digest;
    pub(crate) mod refusal;
    pub(crate) mod server;
    pub(crate) mod sink;
    pub(crate) mod source;
    pub(crate) mod step;
    pub(crate) mod store;
    pub(crate) mod wire;
}

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use windlass::net::{Address, Listen, Memory};
use windlass::{Echo, Lines, Outbox, Reactor};

use example::digest::{BLOCK_LEN, block_len, digest_of};
use example::refusal::Code;
use example::server::Service;
use example::store::{Fsync, Store};
use example::wire::{Message, Wire};
use running::{PATIENCE, Running, command};

// --- What the tests share ---------------------------------------------------------------------

/// A folder with `here` and `there` in it, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = env::temp_dir().join(format!("windlass-files-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        for side in ["here", "there"] {
            fs::create_dir_all(path.join(side)).unwrap();
        }
        Folder(path)
    }

    fn here(&self, name: &str) -> PathBuf {
        self.0.join("here").join(name)
    }

    fn there(&self, name: &str) -> PathBuf {
        self.0.join("there").join(name)
    }

    /// Where `file` is, and where it is to be.
    fn ends(&self, is_download: bool) -> (PathBuf, PathBuf) {
        let (here, there) = (self.here("file"), self.there("file"));
        if is_download {
            (there, here)
        } else {
            (here, there)
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server, until this is dropped.
struct Server {
    address: String,
    running: Running,
}

impl Server {
    fn start(root: &Path, options: &[&str]) -> Server {
        let mut command = command("files", &["serve"]);
        command.arg(root).args(options);
        Server::spawn(command)
    }

    fn spawn(mut command: Command) -> Server {
        command.args(["--listen", "127.0.0.1:0", "--fsync", "none"]);
        Server::spawned(command)
    }

    fn spawned(mut command: Command) -> Server {
        command.stderr(Stdio::null());
        let running = Running::spawn("files", command, 1);
        Server {
            address: running.address().to_owned(),
            running,
        }
    }

    /// Sends one message; answers the first byte and the rest of the next one.
    fn ask(&self, message: Message<'_>) -> (u8, Vec<u8>) {
        let mut peer = Peer::connect(&self.address);
        peer.send(message);
        peer.receive()
    }
}

/// A client that may say what it likes.
struct Peer(TcpStream);

impl Peer {
    fn connect(address: &str) -> Peer {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer(stream)
    }

    fn send(&mut self, message: Message<'_>) {
        self.0.write_all(&encoded(message)).unwrap();
    }

    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.0.read_exact(&mut frame).unwrap();
        let kind = frame.remove(0);
        (kind, frame)
    }
}

fn encoded(message: Message<'_>) -> Vec<u8> {
    use windlass::framing::Encoder;

    let mut out = Outbox::new();
    Wire::default().encode(message, &mut out).unwrap();
    out.to_vec()
}

fn client(address: &str, command: &str, arguments: &[&Path]) -> Command {
    let mut client = self::command("files", &[command, address]);
    client.args(arguments);
    client
}

/// Runs a client to its end; answers what it said on both outputs.
#[track_caller]
fn check(mut client: Command, status: i32) -> String {
    let output = client.output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(status), "{client:?}: {text}");
    text
}

/// The same command, within a limit that the shell sets before.
fn limited(limit: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{limit}; exec \"$@\""), "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("RUST_LOG");
    shell
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// Numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for chunk in bytes.chunks_mut(8) {
            let number = self.below(u64::MAX).to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
        bytes
    }
}

/// What happens on the way between a client and a server.
struct Way {
    listener: TcpListener,
    /// The direction that is looked at.
    is_download: bool,
    /// After so many bytes of it …
    after: u64,
}

/// … this.
enum Accident<'a> {
    /// Nothing passes any more, and this is done.
    Cut(&'a mut (dyn FnMut() + Send)),
    /// One bit of the next byte is another one.
    Flip,
}

impl Way {
    fn new(is_download: bool, after: u64) -> Way {
        Way {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            is_download,
            after,
        }
    }

    fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Carries one connection; answers whether the accident happened.
    fn carry(self, server: &str, accident: Accident<'_>) -> bool {
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).unwrap();
        assert_eq!(
            poll(&mut fds, Some(&patience)).unwrap(),
            1,
            "no client comes"
        );
        let near = self.listener.accept().unwrap().0;
        let far = TcpStream::connect(server.parse::<SocketAddr>().unwrap()).unwrap();
        let mut accident = Some(accident);
        thread::scope(|scope| {
            let (down, up) = ((&far, &near), (&near, &far));
            let (watched, other) = if self.is_download {
                (down, up)
            } else {
                (up, down)
            };
            scope.spawn(|| {
                pass(watched.0, watched.1, self.after, |byte| {
                    match accident.take() {
                        Some(Accident::Cut(act)) => act(),
                        Some(Accident::Flip) => {
                            *byte ^= 1;
                            return true;
                        }
                        None => return true,
                    }
                    // Both, so that the other direction ends as well.
                    let _ = near.shutdown(Shutdown::Both);
                    let _ = far.shutdown(Shutdown::Both);
                    false
                });
            });
            pass(other.0, other.1, u64::MAX, |_| true);
        });
        accident.is_none()
    }
}

/// Copies until the end; at byte `after`, `act` may change it, or end it all.
fn pass(
    mut from: &TcpStream,
    mut to: &TcpStream,
    after: u64,
    mut act: impl FnMut(&mut u8) -> bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0_u64;
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let here = after.checked_sub(passed).filter(|&here| here < len as u64);
        passed += len as u64;
        let mut whole = len;
        if let Some(here) = here
            && !act(&mut buffer[here as usize])
        {
            whole = here as usize;
        }
        if to.write_all(&buffer[..whole]).is_err() || whole < len {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

// --- Transfers --------------------------------------------------------------------------------

#[test]
fn files_of_every_length_go_there_and_back_several_at_a_time() {
    let folder = Folder::new("lengths");
    let server = Server::start(&folder.there(""), &[]);
    let mut random = Random(7);
    let names = [
        0,
        1,
        BLOCK_LEN - 1,
        BLOCK_LEN,
        BLOCK_LEN + 1,
        3 * BLOCK_LEN + 7,
    ];
    let paths: Vec<PathBuf> = names
        .iter()
        .map(|len| folder.here(&len.to_string()))
        .collect();
    for (path, &len) in paths.iter().zip(&names) {
        fs::write(path, random.bytes(len)).unwrap();
    }
    let all: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    check(client(&server.address, "put", &all), 0);
    for (path, len) in paths.iter().zip(names) {
        let sent = fs::read(path).unwrap();
        assert!(
            sent == fs::read(folder.there(&len.to_string())).unwrap(),
            "{len}"
        );
    }
    check(client(&server.address, "verify", &all), 0);
    let back = folder.here("back");
    fs::create_dir(&back).unwrap();
    let remote: Vec<&Path> = all
        .iter()
        .map(|path| path.file_name().unwrap().as_ref())
        .collect();
    let mut get = client(&server.address, "get", &remote);
    get.arg("--into").arg(&back).args(["--fsync", "full"]);
    check(get, 0);
    for (path, len) in paths.iter().zip(names) {
        let got = fs::read(back.join(len.to_string())).unwrap();
        assert!(got == fs::read(path).unwrap(), "{len}");
    }
    let list = check(client(&server.address, "ls", &[]), 0);
    assert_eq!(list.lines().count(), names.len(), "{list}");
    assert!(list.contains("262145 262145\n"), "{list}");
}

#[test]
fn without_digests_files_of_every_length_arrive_and_nothing_is_kept_of_what_was_there() {
    let folder = Folder::new("plain");
    let server = Server::start(&folder.there(""), &[]);
    let mut random = Random(17);
    for len in [0, 1, BLOCK_LEN, 3 * BLOCK_LEN + 7] {
        let content = random.bytes(len);
        fs::write(folder.there("file"), &content).unwrap();
        fs::write(folder.here(".file.part"), random.bytes(2 * BLOCK_LEN)).unwrap();
        let mut get = client(&server.address, "get", &[Path::new("file")]);
        get.arg("--into").arg(folder.here("")).arg("--no-digest");
        let said = check(get, 0);
        assert!(
            said.contains(&format!("{len} bytes, 0 of them before")),
            "{said}"
        );
        assert!(fs::read(folder.here("file")).unwrap() == content, "{len}");
        assert!(!folder.here(".file.part").exists());
    }
}

#[test]
fn without_digests_a_file_that_is_changed_or_cut_on_the_way_gets_no_name() {
    let folder = Folder::new("plain-changed");
    let server = Server::start(&folder.there(""), &[]);
    let file = folder.there("file");
    fs::write(&file, "before").unwrap();
    let mut peer = Peer::connect(&server.address);
    peer.send(Message::Get { path: b"file" });
    assert_eq!(peer.receive().0, 0x10);
    fs::write(&file, "behind it").unwrap();
    peer.send(Message::SendPlain);
    assert_eq!(peer.receive(), (0x18, 6_u64.to_be_bytes().to_vec()));
    let mut bytes = [0; 6];
    peer.0.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"behind");
    check_refused(peer.receive(), Code::Changed);

    // It is not as long as was said: its connection is cut off.
    fs::write(&file, vec![1; 64 * BLOCK_LEN]).unwrap();
    let mut peer = Peer::connect(&server.address);
    peer.send(Message::Get { path: b"file" });
    assert_eq!(peer.receive().0, 0x10);
    fs::write(&file, vec![1; 10]).unwrap();
    peer.send(Message::SendPlain);
    let mut rest = Vec::new();
    assert!(
        peer.0.read_to_end(&mut rest).is_err(),
        "{} bytes",
        rest.len()
    );
}

#[test]
fn more_files_than_may_be_open_are_moved_one_after_the_other() {
    let folder = Folder::new("many");
    let server = Server::start(&folder.there(""), &[]);
    let names: Vec<String> = (0..100).map(|at| at.to_string()).collect();
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.here(name)).collect();
    for (path, name) in paths.iter().zip(&names) {
        fs::write(path, name).unwrap();
    }
    let all: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let few = "ulimit -n 50";
    check(limited(few, &client(&server.address, "put", &all)), 0);
    check(limited(few, &client(&server.address, "verify", &all)), 0);
    let back = folder.here("back");
    fs::create_dir(&back).unwrap();
    let remote: Vec<&Path> = names.iter().map(Path::new).collect();
    let mut get = client(&server.address, "get", &remote);
    get.arg("--into").arg(&back);
    check(limited(few, &get), 0);
    for name in &names {
        assert_eq!(&fs::read_to_string(back.join(name)).unwrap(), name);
    }
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let folder = Folder::new("progress");
    let server = Server::start(&folder.there(""), &[]);
    fs::write(folder.here("file"), vec![1; 4 * BLOCK_LEN]).unwrap();
    let mut put = client(&server.address, "put", &[&folder.here("file")]);
    let output = put.output().unwrap();
    assert_eq!(output.stdout, b"put file, 1048576 bytes\n");
    assert_eq!(output.stderr, b"");

    let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&pty).unwrap();
    unlockpt(&pty).unwrap();
    let name = ptsname(&pty, Vec::new()).unwrap();
    let name = name.into_string().unwrap();
    let terminal = fs::OpenOptions::new().read(true).write(true).open(name);
    put.stderr(terminal.unwrap());
    let mut child = put.stdout(Stdio::null()).spawn().unwrap();
    // Its end of the terminal is closed with it, and not open here.
    drop(put);
    let mut shown = Vec::new();
    let mut pty = fs::File::from(pty);
    let mut piece = [0; 4096];
    while let Ok(len @ 1..) = pty.read(&mut piece) {
        shown.extend(&piece[..len]);
    }
    assert!(child.wait().unwrap().success());
    let shown = String::from_utf8_lossy(&shown);
    for part in ["file ", " of 1.00 MiB", "/s, ", " left"] {
        assert!(shown.contains(part), "{part}: {shown:?}");
    }
}

#[test]
fn a_download_that_is_cut_anywhere_goes_on_from_the_last_whole_block() {
    check_cuts("download", true);
}

#[test]
fn an_upload_that_is_cut_anywhere_goes_on_from_the_last_whole_block() {
    check_cuts("upload", false);
}

fn check_cuts(name: &str, is_download: bool) {
    let folder = Folder::new(name);
    let server = Server::start(&folder.there(""), &[]);
    let mut random = Random(11);
    let content = random.bytes(4 * BLOCK_LEN + 1000);
    let (from, to) = folder.ends(is_download);
    fs::write(from, &content).unwrap();
    for round in 0..12 {
        // The first bytes of messages, the middle of blocks, and nearly the end.
        let after = match round {
            0..5 => round,
            11 => content.len() as u64,
            _ => random.below(content.len() as u64),
        };
        let way = Way::new(is_download, after);
        let child = transfer(&folder, &way.address(), is_download)
            .spawn()
            .unwrap();
        assert!(way.carry(&server.address, Accident::Cut(&mut || {})));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{after}: {}", said(&output));
        assert!(!to.exists(), "cut after {after}");
        finish(&folder, &server, is_download);
        assert!(fs::read(&to).unwrap() == content, "cut after {after}");
        fs::remove_file(&to).unwrap();
    }
}

/// The client that moves `file`.
fn transfer(folder: &Folder, address: &str, is_download: bool) -> Command {
    let mut client = if is_download {
        let mut get = client(address, "get", &["file".as_ref()]);
        get.args(["--fsync", "none", "--into"]).arg(folder.here(""));
        get
    } else {
        client(address, "put", &[&folder.here("file")])
    };
    client.stdout(Stdio::piped()).stderr(Stdio::piped());
    client
}

/// Moves `file`, which may have to wait until the server has noticed that the last client is gone.
fn finish(folder: &Folder, server: &Server, is_download: bool) -> String {
    for _ in 0..1000 {
        let output = transfer(folder, &server.address, is_download)
            .output()
            .unwrap();
        let text = said(&output);
        if !text.contains("somebody else is writing it") {
            assert_eq!(output.status.code(), Some(0), "{text}");
            return text;
        }
    }
    panic!("the server does not notice that a client is gone");
}

#[test]
fn only_what_is_right_of_an_unfinished_file_is_kept() {
    let folder = Folder::new("kept");
    let server = Server::start(&folder.there(""), &[]);
    let content = Random(3).bytes(5 * BLOCK_LEN + 9);
    fs::write(folder.there("file"), &content).unwrap();
    // Three blocks and a half, and the third one is damaged; then a whole one; then a longer one.
    let mut damaged = content[..3 * BLOCK_LEN + 100].to_vec();
    damaged[2 * BLOCK_LEN + 5] ^= 1;
    let longer = [&content[..], b"and more"].concat();
    for (part, kept) in [
        (&damaged[..], 2 * BLOCK_LEN),
        (&content[..], content.len()),
        (&longer[..], content.len()),
        (b"nonsense", 0),
    ] {
        fs::write(folder.here(".file.part"), part).unwrap();
        let text = finish(&folder, &server, true);
        assert!(text.contains(&format!(" {kept} of them before")), "{text}");
        assert!(fs::read(folder.here("file")).unwrap() == content);
        assert!(!folder.here(".file.part").exists());
    }
}

#[test]
fn a_damaged_byte_names_the_block_and_leaves_nothing_under_the_name() {
    for is_download in [true, false] {
        let folder = Folder::new(if is_download {
            "damaged-down"
        } else {
            "damaged-up"
        });
        let server = Server::start(&folder.there(""), &[]);
        let content = Random(5).bytes(4 * BLOCK_LEN);
        let (from, to) = folder.ends(is_download);
        fs::write(from, &content).unwrap();
        let way = Way::new(is_download, 2 * BLOCK_LEN as u64 + 5000);
        let child = transfer(&folder, &way.address(), is_download)
            .spawn()
            .unwrap();
        assert!(way.carry(&server.address, Accident::Flip));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = said(&output);
        assert!(text.contains("block 2 has another digest"), "{text}");
        assert!(!to.exists());
        let text = finish(&folder, &server, is_download);
        assert!(
            !is_download || text.contains("524288 of them before"),
            "{text}"
        );
        assert!(fs::read(&to).unwrap() == content);
    }
}

#[test]
fn a_damaged_path_makes_no_file_of_another_name_and_verifies_no_other_one() {
    let folder = Folder::new("damaged-path");
    let server = Server::start(&folder.there(""), &[]);
    // The last byte of what the client asks for first: of `file`, which becomes `fild`.
    let damaged = |mut command: Command, before: usize, way: Way| {
        let way = Way {
            after: before as u64 + 3,
            ..way
        };
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        assert!(way.carry(&server.address, Accident::Flip));
        let output = child.unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        said(&output)
    };
    let put_head = encoded(Message::Put { len: 0, path: b"" }).len();
    let get_head = encoded(Message::Get { path: b"" }).len();
    let whole = "the file as a whole has another digest";
    fs::write(folder.here("file"), "content").unwrap();
    let way = Way::new(false, 0);
    let text = damaged(transfer(&folder, &way.address(), false), put_head, way);
    assert!(text.contains(whole), "{text}");
    assert!(!folder.there("file").exists() && !folder.there("fild").exists());
    // There is a file of that name, and even one with the same content.
    fs::write(folder.there("fild"), "content").unwrap();
    fs::write(folder.there("file"), "CONTENT").unwrap();
    let way = Way::new(false, 0);
    let verify = client(&way.address(), "verify", &[&folder.here("file")]);
    let text = damaged(verify, get_head, way);
    assert!(text.contains(whole), "{text}");
    fs::remove_file(folder.here("file")).unwrap();
    let way = Way::new(false, 0);
    let text = damaged(transfer(&folder, &way.address(), true), get_head, way);
    assert!(text.contains(whole), "{text}");
    assert!(!folder.here("file").exists());
}

#[test]
fn verify_names_the_first_block_that_differs() {
    let folder = Folder::new("verify");
    let server = Server::start(&folder.there(""), &[]);
    let mut content = Random(9).bytes(3 * BLOCK_LEN);
    fs::write(folder.there("file"), &content).unwrap();
    content[BLOCK_LEN] ^= 1;
    fs::write(folder.here("file"), &content).unwrap();
    let verify = || client(&server.address, "verify", &[&folder.here("file")]);
    assert!(check(verify(), 1).contains("block 1 has another digest"));
    content[BLOCK_LEN] ^= 1;
    content.pop();
    fs::write(folder.here("file"), &content).unwrap();
    let text = check(verify(), 1);
    assert!(
        text.contains("786431 bytes here, 786432 there; the first 2 blocks are"),
        "{text}"
    );
}

#[test]
fn whoever_is_killed_leaves_files_that_are_whole_or_go_on() {
    let folder = Folder::new("killed");
    let mut random = Random(0x5EED);
    let mut server = Server::start(&folder.there(""), &[]);
    let (mut kills, mut goings_on) = (0, 0);
    while kills < KILLS {
        let is_download = random.below(2) == 0;
        let rest = random.below(BLOCK_LEN as u64) as usize;
        let content = random.bytes(4 * BLOCK_LEN + rest);
        let (from, to) = folder.ends(is_download);
        fs::write(&from, &content).unwrap();
        for _ in 0..5 {
            let way = Way::new(is_download, random.below(content.len() as u64 / 2));
            let mut child = transfer(&folder, &way.address(), is_download)
                .spawn()
                .unwrap();
            let is_server = random.below(2) == 0;
            let victim = if is_server {
                &mut server.running.child
            } else {
                &mut child
            };
            let was_killed = way.carry(
                &server.address,
                Accident::Cut(&mut || victim.kill().unwrap()),
            );
            kills += u32::from(was_killed);
            child.wait_with_output().unwrap();
            if is_server && was_killed {
                server = Server::start(&folder.there(""), &[]);
            }
            if to.exists() {
                assert!(fs::read(&to).unwrap() == content, "after {kills} kills");
            }
        }
        let text = finish(&folder, &server, is_download);
        goings_on += u32::from(is_download && !text.contains(", 0 of them before"));
        assert!(fs::read(&to).unwrap() == content, "after {kills} kills");
        fs::remove_file(from).unwrap();
        fs::remove_file(to).unwrap();
    }
    assert!(goings_on > 0);
    // Nothing else is left over, on either side.
    for side in ["here", "there"] {
        assert_eq!(fs::read_dir(folder.0.join(side)).unwrap().count(), 0);
    }
}

const KILLS: u32 = 200;

// --- What is refused --------------------------------------------------------------------------

#[track_caller]
fn check_refused((kind, body): (u8, Vec<u8>), code: Code) {
    assert_eq!(
        (kind, Code::from_byte(body[0])),
        (0x2f, code),
        "{}",
        body.escape_ascii()
    );
}

#[test]
fn no_path_leaves_the_root() {
    let folder = Folder::new("paths");
    fs::write(folder.here("secret"), "secret").unwrap();
    fs::create_dir(folder.there("within")).unwrap();
    symlink("../here/secret", folder.there("out")).unwrap();
    symlink("../here", folder.there("up")).unwrap();
    symlink("/", folder.there("top")).unwrap();
    let server = Server::start(&folder.there(""), &[]);
    let paths: [(&[u8], Code); 13] = [
        (b"", Code::BadPath),
        (b"..", Code::BadPath),
        (b"../here/secret", Code::BadPath),
        (b"within/../../here/secret", Code::BadPath),
        (b"./out", Code::BadPath),
        (b"/etc/passwd", Code::BadPath),
        (b"within//x", Code::BadPath),
        (b"with\0in", Code::BadPath),
        (b".file.part", Code::BadPath),
        (b"up/secret", Code::Outside),
        (b"top/etc/passwd", Code::Outside),
        (b"nothing/there", Code::NotFound),
        (b"within", Code::NotAFile),
    ];
    for (path, code) in paths {
        check_refused(server.ask(Message::Get { path }), code);
        check_refused(server.ask(Message::Put { len: 1, path }), code);
    }
    check_refused(server.ask(Message::Get { path: b"out" }), Code::Outside);
    for path in [&b".."[..], b"/", b"up", b"top"] {
        let (kind, _) = server.ask(Message::List { path });
        assert_eq!(kind, 0x2f, "{}", path.escape_ascii());
    }
    // Nothing is written to what has another name, elsewhere.
    fs::hard_link(folder.here("secret"), folder.there(".hard.part")).unwrap();
    let hard = Message::Put {
        len: 1,
        path: b"hard",
    };
    check_refused(server.ask(hard), Code::Outside);
    assert_eq!(fs::read(folder.here("secret")).unwrap(), b"secret");
    // What is put under the name of a link replaces the link, not what it leads to.
    fs::write(folder.here("out"), "new").unwrap();
    check(client(&server.address, "put", &[&folder.here("out")]), 0);
    assert_eq!(fs::read(folder.here("secret")).unwrap(), b"secret");
    assert_eq!(fs::read(folder.there("out")).unwrap(), b"new");
}

#[test]
fn without_openat2_no_link_is_followed() {
    let folder = Folder::new("stepwise");
    fs::create_dir(folder.there("within")).unwrap();
    for path in [folder.here("secret"), folder.there("within/file")] {
        fs::write(path, "content").unwrap();
    }
    symlink("../here", folder.there("up")).unwrap();
    symlink("within", folder.there("link")).unwrap();
    symlink("../../here/secret", folder.there("within/out")).unwrap();
    for is_stepwise in [false, true] {
        let mut store = Store::open(&folder.there("")).unwrap();
        if is_stepwise {
            store = store.stepwise();
        }
        let code = |path: &[u8]| store.open_file(path).err().map(|refusal| refusal.code);
        assert_eq!(code(b"within/file"), None);
        assert_eq!(code(b"link/file"), is_stepwise.then_some(Code::Outside));
        assert_eq!(code(b"up/secret"), Some(Code::Outside));
        assert_eq!(code(b"within/out"), Some(Code::Outside));
        assert_eq!(code(b"within/file/file"), Some(Code::NotFound));
        assert!(store.place(b"up/new").is_err());
    }
}

#[test]
fn a_file_is_written_by_one_at_a_time() {
    let folder = Folder::new("busy");
    let server = Server::start(&folder.there(""), &[]);
    let put = || Message::Put {
        len: 1,
        path: b"file",
    };
    let mut first = Peer::connect(&server.address);
    first.send(put());
    assert_eq!(first.receive().0, 0x13);
    check_refused(server.ask(put()), Code::Busy);
    first.send(Message::Block {
        index: 0,
        digest: digest_of(b"x"),
        bytes: b"x",
    });
    drop(first);
    // Its block is kept, though it was the whole file: nobody has said so.
    fs::write(folder.here("file"), "x").unwrap();
    finish(&folder, &server, false);
    assert_eq!(fs::read(folder.there("file")).unwrap(), b"x");
}

#[test]
fn a_file_that_is_changed_while_it_is_read_is_not_sent_as_whole() {
    let folder = Folder::new("changed");
    fs::write(folder.there("file"), "before").unwrap();
    let server = Server::start(&folder.there(""), &[]);
    for content in ["behind it", "less"] {
        let mut peer = Peer::connect(&server.address);
        peer.send(Message::Get { path: b"file" });
        assert_eq!(peer.receive().0, 0x10);
        fs::write(folder.there("file"), content).unwrap();
        peer.send(Message::Send { from: 0 });
        let mut answer = peer.receive();
        if answer.0 == 0x14 {
            answer = peer.receive();
        }
        check_refused(answer, Code::Changed);
    }
}

#[test]
fn messages_that_do_not_belong_there_end_the_transfer() {
    let folder = Folder::new("confused");
    fs::write(folder.there("file"), "content").unwrap();
    let server = Server::start(&folder.there(""), &[]);
    check_refused(server.ask(Message::Stored), Code::Confused);
    for next in [
        Message::Send { from: 1 },
        Message::Held {
            digests: &[[0; 32]; 2],
        },
        Message::Agreed { blocks: 0 },
        Message::Get { path: b"file" },
    ] {
        let mut peer = Peer::connect(&server.address);
        peer.send(Message::Get { path: b"file" });
        assert_eq!(peer.receive().0, 0x10);
        peer.send(next);
        check_refused(peer.receive(), Code::Confused);
    }
    for next in [
        Message::Agreed { blocks: 1 },
        Message::Whole { digest: [0; 32] },
        Message::Block {
            index: 1,
            digest: digest_of(b"x"),
            bytes: b"x",
        },
        Message::Block {
            index: 0,
            digest: digest_of(b"xy"),
            bytes: b"xy",
        },
    ] {
        let mut peer = Peer::connect(&server.address);
        peer.send(Message::Put {
            len: 1,
            path: b"new",
        });
        assert_eq!(peer.receive().0, 0x13);
        let is_whole = matches!(next, Message::Whole { .. });
        peer.send(next);
        check_refused(
            peer.receive(),
            if is_whole {
                Code::Mismatch
            } else {
                Code::Confused
            },
        );
        assert!(!folder.there("new").exists());
    }
    // Nonsense, and lengths beyond everything.
    for bytes in [&b"\0\0\0\x01\x77"[..], b"\xff\xff\xff\xff", b"\0\0\0\0"] {
        let mut peer = Peer::connect(&server.address);
        peer.0.write_all(bytes).unwrap();
        check_refused(peer.receive(), Code::Confused);
    }
    check(client(&server.address, "ls", &[]), 0);
}

#[test]
fn a_full_disk_is_told_and_the_server_goes_on() {
    let folder = Folder::new("full");
    // No file may be longer than 1 MiB: the system says so as it says that a disk is full.
    let mut serve = command("files", &["serve"]);
    serve.arg(folder.there(""));
    let server = Server::spawn(limited("trap '' XFSZ; ulimit -f 2048", &serve));
    fs::write(folder.here("large"), vec![1; 8 * BLOCK_LEN]).unwrap();
    fs::write(folder.here("small"), "small").unwrap();
    let text = check(client(&server.address, "put", &[&folder.here("large")]), 1);
    assert!(
        text.contains("the server says: no room for the file"),
        "{text}"
    );
    assert!(!folder.there("large").exists());
    check(client(&server.address, "put", &[&folder.here("small")]), 0);
    assert_eq!(fs::read(folder.there("small")).unwrap(), b"small");
}

/// The same command, with a file system of 2 MiB of its own at `at`, on which `content` lies. Only
/// this process and its own see it. `None` where nobody may have one.
fn on_a_small_disk(at: &Path, content: &str, command: &Command) -> Option<Command> {
    let own = |script: &str| {
        let mut shell = Command::new("unshare");
        shell.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script]);
        shell.arg("sh").arg(at);
        shell
    };
    let mount = "mount -t tmpfs -o size=2m tmpfs \"$1\"";
    if !own(mount)
        .output()
        .is_ok_and(|output| output.status.success())
    {
        eprintln!("no file system of its own may be had here: disks that are full are left out");
        return None;
    }
    let mut shell = own(&format!(
        "{mount}; cd \"$1\"; shift; {content}; exec \"$@\""
    ));
    shell
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("RUST_LOG");
    Some(shell)
}

#[test]
fn a_disk_that_fills_up_keeps_what_it_has_and_the_upload_goes_on_when_there_is_room() {
    let folder = Folder::new("no-space");
    let content = Random(19).bytes(6 * BLOCK_LEN);
    fs::write(folder.here("large"), &content).unwrap();
    fs::write(folder.here("small"), "small").unwrap();
    let mut serve = command("files", &["serve"]);
    serve
        .arg(folder.there(""))
        .args(["--listen", "127.0.0.1:0"]);
    let ballast = "head -c 1048576 /dev/zero >ballast; echo old >large";
    let Some(serve) = on_a_small_disk(&folder.there(""), ballast, &serve) else {
        return;
    };
    let server = Server::spawned(serve);
    // Two of them at once: each is told of it, by name.
    fs::write(folder.here("other"), &content).unwrap();
    let both = [&*folder.here("large"), &folder.here("other")];
    let text = check(client(&server.address, "put", &both), 1);
    for name in ["large", "other"] {
        let why = format!("{name}: the server says: no room for the file: No space left");
        assert!(text.contains(&why), "{text}");
    }
    // What was there is there, what was not is not, and everybody else is served.
    let list = check(client(&server.address, "ls", &[]), 0);
    for line in [
        "4 large\n",
        "1048576 ballast\n",
        " .large.part\n",
        " .other.part\n",
    ] {
        assert!(list.contains(line), "{line}: {list}");
    }
    assert_eq!(list.lines().count(), 4, "{list}");
    let mut get = client(&server.address, "get", &["large".as_ref()]);
    get.arg("--into")
        .arg(folder.here(""))
        .args(["--fsync", "none"]);
    fs::rename(folder.here("large"), folder.here("ours")).unwrap();
    check(get, 0);
    assert_eq!(fs::read(folder.here("large")).unwrap(), b"old\n");
    fs::rename(folder.here("ours"), folder.here("large")).unwrap();
    // There is room again. Blocks that have arrived are asked about, not sent again.
    let disk = format!("/proc/{}/root", server.running.child.id());
    let on_disk =
        |name: &str| Path::new(&disk).join(&folder.there(name).as_os_str().to_str().unwrap()[1..]);
    for name in ["ballast", ".other.part"] {
        fs::remove_file(on_disk(name)).unwrap();
    }
    let mut peer = Peer::connect(&server.address);
    peer.send(Message::Put {
        len: content.len() as u64,
        path: b"large",
    });
    let (kind, held) = peer.receive();
    assert_eq!(kind, 0x11);
    assert!(held.len() >= 32, "a block was kept");
    drop(peer);
    let put = || client(&server.address, "put", &[&folder.here("large")]);
    while said(&put().output().unwrap()).contains("somebody else is writing it") {}
    assert!(fs::read(on_disk("large")).unwrap() == content);
    check(client(&server.address, "put", &[&folder.here("small")]), 0);
    check(
        client(&server.address, "verify", &[&folder.here("large")]),
        0,
    );
}

#[test]
fn a_full_disk_on_this_side_is_told_too() {
    let folder = Folder::new("no-space-here");
    let server = Server::start(&folder.there(""), &[]);
    let large = fs::File::create(folder.there("large")).unwrap();
    large.set_len(3 << 20).unwrap();
    let mut get = client(&server.address, "get", &["large".as_ref()]);
    get.arg("--into").arg(folder.here(""));
    let Some(get) = on_a_small_disk(&folder.here(""), ":", &get) else {
        return;
    };
    let text = check(get, 1);
    assert!(
        text.contains("large: no room for the file: No space left"),
        "{text}"
    );
}

#[test]
fn what_may_not_be_written_is_told_and_the_server_goes_on() {
    let folder = Folder::new("denied");
    fs::write(folder.here("file"), "content").unwrap();
    let server = Server::start(&folder.there(""), &["--read-only"]);
    let text = check(client(&server.address, "put", &[&folder.here("file")]), 1);
    assert!(
        text.contains("the server says: nothing may be written here"),
        "{text}"
    );
    check(client(&server.address, "ls", &[]), 0);
    // Nobody writes there, not even root.
    if Path::new("/sys/kernel").is_dir() {
        let server = Server::start(Path::new("/sys/kernel"), &[]);
        let text = check(client(&server.address, "put", &[&folder.here("file")]), 1);
        assert!(text.contains("the server says: not allowed"), "{text}");
        check(client(&server.address, "ls", &[]), 0);
    }
    // And on this side.
    let text = check(client(&server.address, "put", &[&folder.here("")]), 1);
    assert!(text.contains("it is not a file"), "{text}");
    let mut get = client(&server.address, "get", &["none".as_ref()]);
    get.args(["--into", "/nowhere"]);
    assert!(check(get, 1).contains("there is no such file"));
}

// --- Hashing beside others --------------------------------------------------------------------

/// A server of what is there, in this process.
fn in_memory(folder: &Folder) -> (Memory, Reactor<Memory>, Address) {
    let memory = Memory::new();
    let mut reactor = Reactor::with_network(memory.clone());
    let files: Address = "127.0.0.1:1".parse().unwrap();
    let service = Service {
        store: Store::open(&folder.there("")).unwrap(),
        fsync: Fsync::None,
        is_read_only: true,
    };
    example::server::listen(&mut reactor, files.clone(), service).unwrap();
    (memory, reactor, files)
}

#[test]
fn while_a_gigabyte_is_hashed_every_line_is_echoed_in_the_turn_in_which_it_comes() {
    const LEN: u64 = 1 << 30;
    const CLIENTS: usize = 4;
    /// Each asks about 16 MiB at a time.
    const WINDOWS: usize = 16;
    let folder = Folder::new("hashing");
    let file = fs::File::create(folder.there("sparse")).unwrap();
    file.set_len(LEN).unwrap();
    let (memory, mut reactor, files) = in_memory(&folder);
    let echo: Address = "127.0.0.1:2".parse().unwrap();
    reactor
        .listen(Listen::new(echo.clone()), |_| Echo::<Lines>::default())
        .unwrap();
    let other = memory.connect_peer(&echo).unwrap();
    let peers: Vec<_> = (0..CLIENTS)
        .map(|_| memory.connect_peer(&files).unwrap())
        .collect();
    let say = |message: &[u8]| {
        for peer in &peers {
            assert_eq!(peer.send(message), message.len());
        }
    };
    let zeros = digest_of(&vec![0; block_len(LEN, 0)]);
    let held = encoded(Message::Held {
        digests: &[zeros; 64],
    });
    reactor.turn(Some(Duration::ZERO)).unwrap();
    say(&encoded(Message::Get { path: b"sparse" }));
    let mut turns = 0;
    for window in 0..=WINDOWS {
        let expected = match window {
            0 => encoded(Message::File { len: LEN }),
            _ => encoded(Message::Agreed { blocks: 64 }),
        };
        let mut heard = vec![Vec::new(); CLIENTS];
        while heard.iter().any(|heard| heard.len() < expected.len()) {
            other.send(b"anybody\n");
            reactor.turn(Some(Duration::ZERO)).unwrap();
            turns += 1;
            assert_eq!(other.received(), b"anybody\n", "turn {turns}");
            for (heard, peer) in heard.iter_mut().zip(&peers) {
                heard.extend(peer.received());
            }
        }
        assert!(heard.iter().all(|heard| *heard == expected));
        if window < WINDOWS {
            say(&held);
        }
    }
    // However many compare, a turn hashes 256 KiB.
    assert!(turns as u64 >= LEN / BLOCK_LEN as u64, "{turns} turns");
}

#[test]
fn a_download_is_one_block_in_a_turn_however_fast_it_is_taken() {
    let folder = Folder::new("turns");
    let content = Random(13).bytes(8 * BLOCK_LEN);
    fs::write(folder.there("file"), &content).unwrap();
    let (memory, mut reactor, files) = in_memory(&folder);
    let peer = memory.connect_peer(&files).unwrap();
    peer.set_capacity(content.len());
    peer.send(&encoded(Message::Get { path: b"file" }));
    for _ in 0..4 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let len = content.len() as u64;
    assert_eq!(peer.received(), encoded(Message::File { len }));
    peer.send(&encoded(Message::Send { from: 0 }));
    let block = Message::Block {
        index: 0,
        digest: [0; 32],
        bytes: &content[..BLOCK_LEN],
    };
    let (mut heard, mut most) = (0, 0);
    while heard < content.len() {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        let len = peer.received().len();
        (heard, most) = (heard + len, most.max(len));
    }
    assert_eq!(most, encoded(block).len());
}
