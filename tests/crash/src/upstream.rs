//! The upstream: it runs `/run/MARKER/LENGTH/DELAY`, and its journal of what it ran is the oracle.
//!
//! Invariants: a run is in the journal, with the digest of the whole request body, before anything of it is answered; what it
//! answers follows from marker, body and length alone ([`answer_to`]). A body that is cut short is no run. Read first:
//! [`Upstream::journal`].

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::http::{Conn, Message};

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The call it belongs to.
    pub marker: String,
    /// Its method.
    pub method: String,
    /// Digest of the request's body.
    pub body: String,
}

/// A running server. Its threads end with the process.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub port: u16,
    journal: Mutex<Vec<Run>>,
}

impl Upstream {
    /// Starts it.
    #[must_use]
    pub fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = Arc::new(Self { port, journal: Mutex::default() });
        let serving = Arc::clone(&upstream);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = Arc::clone(&serving);
                // Engines are killed: connections end in any way.
                thread::spawn(move || drop(serving.serve(&mut Conn::new(stream))));
            }
        });
        upstream
    }

    /// What was run so far, in order.
    #[must_use]
    pub fn journal(&self) -> Vec<Run> {
        self.entries().clone()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Run>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, conn: &mut Conn) -> io::Result<()> {
        while let Some(mut head) = conn.head()? {
            conn.body(&mut head, false)?;
            let (status, body) = self.run(&head);
            conn.write(format!("HTTP/1.1 {status} Told\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())?;
            conn.write(&body)?;
        }
        Ok(())
    }

    fn run(&self, request: &Message) -> (u16, Vec<u8>) {
        let mut words = request.first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut parts = path.strip_prefix("/run/").unwrap_or_default().split('/');
        let marker = parts.next().unwrap_or_default();
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        let (Some(length), Some(delay)) = (number(parts.next()), number(parts.next())) else {
            return (404, b"no such page".to_vec());
        };
        let body = digest(&request.body);
        let answer = answer_to(marker, &body, length);
        self.entries().push(Run { marker: marker.to_owned(), method: method.to_owned(), body });
        thread::sleep(Duration::from_millis(delay));
        (200, answer)
    }
}

/// What the upstream answers.
#[must_use]
pub fn answer_to(marker: &str, body: &str, length: u64) -> Vec<u8> {
    let mut answer = format!("ran {marker} with {body}\n").into_bytes();
    answer.extend(content(marker, length));
    answer
}

/// Content that does not compress, another one for every marker.
#[must_use]
pub fn content(marker: &str, length: u64) -> Vec<u8> {
    let mut dice = crate::dice::Dice::new(length, marker);
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        bytes.extend_from_slice(&dice.throw().to_le_bytes());
    }
    bytes.truncate(usize::try_from(length).unwrap_or(0));
    bytes
}

/// SHA-256 in hex.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
