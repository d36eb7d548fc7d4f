//! Records a chat, replays it, and finds out a protocol that was changed.
//!
//! `cargo run --example replay --features sim`

use std::cell::RefCell;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use windlass::net::Os;
use windlass::sim::{Record, replay};
use windlass::{CloseReason, Context, Intents, Lines, Protocol, Reactor, Token};

/// Records a chat on real sockets, and replays it without any.
#[derive(Parser)]
struct Options {
    /// Where the record is kept. Without this it goes to a temporary file, which is removed.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Bytes of the record at most.
    #[arg(long, default_value_t = 1_000_000)]
    max_len: u64,
}

type Room = Rc<RefCell<Vec<Token>>>;

/// Says to all what one says.
struct Member {
    room: Room,
    /// The mistake of step 4: it shouts.
    is_loud: bool,
}

impl Protocol for Member {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_open(&mut self, cx: &mut Context<'_, Lines>) {
        self.room.borrow_mut().push(cx.token());
    }

    fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
        let mut line = line.to_vec();
        if self.is_loud && line.contains(&b'?') {
            line.make_ascii_uppercase();
        }
        line.push(b'\n');
        for token in self.room.borrow().iter() {
            cx.send_to(*token, line.clone());
        }
    }

    fn on_close(&mut self, _: CloseReason, cx: &mut Intents) {
        self.room.borrow_mut().retain(|token| *token != cx.token());
    }
}

fn members(is_loud: bool) -> impl FnMut(&windlass::Peer) -> Member {
    let room = Room::default();
    move |_| Member {
        room: Rc::clone(&room),
        is_loud,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();

    let temporary = format!("windlass-{}.record", std::process::id());
    let path = options.keep.clone();
    let path = path.unwrap_or_else(|| std::env::temp_dir().join(temporary));

    // 1. The operating system's network, and around it one that writes down what passes.
    let file = File::create(&path)?;
    let (network, record) = Record::write_to(Os::new()?, file, options.max_len);
    let mut reactor = Reactor::with_network(network);
    let chat = reactor.listen("127.0.0.1:0", members(false))?;
    let address = reactor.local_addr(chat)?;
    println!("listening on tcp://{address}");

    // 2. Two real clients.
    let address = address.as_ip().ok_or("no address")?;
    let mut anne = TcpStream::connect(address)?;
    let mut bert = TcpStream::connect(address)?;
    reactor.run_until(|reactor| reactor.stats().entries == 3)?;
    for (client, line) in [(0, "ahoy\n"), (1, "who is there?\n"), (0, "anne\n")] {
        let client = if client == 0 { &mut anne } else { &mut bert };
        client.write_all(line.as_bytes())?;
        let before = reactor.service_stats(chat)?.frames;
        reactor.run_until(|r| {
            r.service_stats(chat)
                .is_ok_and(|stats| stats.frames > before)
        })?;
    }
    drop(anne);
    reactor.run_until(|reactor| reactor.stats().entries == 2)?;
    let mut heard = [0; 24];
    bert.read_exact(&mut heard)?;
    println!("bert heard {:?}", String::from_utf8_lossy(&heard));
    reactor.turn(Some(Duration::ZERO))?;

    // 3. The same protocol, without a socket, sends the same.
    record.finish()?;
    let record = fs::read(&path)?;
    if options.keep.is_none() {
        fs::remove_file(&path)?;
    }
    let same = replay(&record, |reactor| {
        reactor.listen("127.0.0.1:0", members(false)).map(drop)
    })?;
    println!("replayed {} bytes, all the same", same.bytes);

    // 4. Another one does not.
    let loud = replay(&record, |reactor| {
        reactor.listen("127.0.0.1:0", members(true)).map(drop)
    });
    match loud {
        Ok(_) => Err("the mistake was not found".into()),
        Err(difference) => {
            println!("the changed protocol differs {difference}");
            Ok(())
        }
    }
}
