//! Asking a server in its own protocol over a bare connection: no client to install, and the answer is there at once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(5);

/// Sends `question` and reads until every one of `answers` came, wherever in what the server says.
pub(super) fn tcp(port: u16, question: &[u8], answers: &[&[u8]]) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(question).context("it doesn't listen to the question")?;
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !answers.iter().all(|answer| contains(&heard, answer)) {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => heard.extend_from_slice(&buffer[..count]),
            Ok(0) => bail!("it hangs up after {}", shown(&heard)),
            Err(error) => bail!("it says no more than {} ({error})", shown(&heard)),
        }
    }
    Ok(())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The end of what was heard: refusals stand there.
fn shown(heard: &[u8]) -> String {
    let end = &heard[heard.len().saturating_sub(300)..];
    format!("\"{}\"", end.escape_ascii())
}

#[cfg(test)]
mod tests {
    use std::io::Result;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn the_right_words_are_heard_in_pieces_and_wrong_ones_are_told() -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let server = thread::spawn(move || -> Result<()> {
            for words in [["+PO", "NG\r\n"], ["-DEN", "IED\r\n"]] {
                let (mut stream, _) = listener.accept()?;
                stream.read_exact(&mut [0; 4])?;
                for word in words {
                    stream.write_all(word.as_bytes())?;
                }
            }
            Ok(())
        });
        assert!(tcp(port, b"PING", &[b"+PONG", b"\r\n"]).is_ok());
        let refusal = tcp(port, b"PING", &[b"+PONG"]).expect_err("not the answer");
        assert_eq!(refusal.to_string(), r#"it hangs up after "-DENIED\r\n""#);
        server.join().expect("the server is there to the end")
    }
}
